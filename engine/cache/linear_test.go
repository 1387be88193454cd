package cache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

type registerInput struct {
	key   int
	write bool
	value string // "" deletes
}

// register is a key's value; evicting says that it may leave at any time.
func register(evicting bool) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[int][]porcupine.Operation{}
			for _, op := range history {
				k := op.Input.(registerInput).key
				byKey[k] = append(byKey[k], op)
			}
			var parts [][]porcupine.Operation
			for _, p := range byKey {
				parts = append(parts, p)
			}
			return parts
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			in, s := input.(registerInput), state.(string)
			if in.write {
				return true, in.value
			}
			got := output.(string)
			if got == "" && evicting {
				return true, "" // gone, and it may not come back
			}
			return got == s, s
		},
	}
}

// TestLinearizable checks that sets, deletes, gets and batched gets of one set of
// keys have an order in which each get returns what the last set left, while
// the index grows (nothing may be missing then) and while items are evicted.
func TestLinearizable(t *testing.T) {
	for _, evicting := range []bool{false, true} {
		t.Run(fmt.Sprintf("evicting=%v", evicting), func(t *testing.T) {
			o := Options{Bytes: 64 << 20, Lanes: 2}
			if evicting {
				o.Bytes = MinBytes
			}
			c := openCache(t, o, hooks{poison: true})
			if evicting { // from the first operation on
				for i := 0; c.Stats().Emptied == 0; i++ {
					c.Set(keyOf(1_000_000+i), make([]byte, 4000))
				}
			}
			const keys, workers = 12, 4
			var history [workers][]porcupine.Operation
			start := time.Now()
			end := start.Add(soakTime(700 * time.Millisecond))
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(uint64(w), 5))
					for n := 0; n < 4000 && time.Now().Before(end); n++ {
						in := registerInput{key: r.IntN(keys)}
						key := fmt.Appendf(nil, "register-%d", in.key)
						out := ""
						call := int64(time.Since(start))
						switch r.IntN(6) {
						case 0:
							in.write = true
							c.Delete(key)
						case 1, 2:
							in.write, in.value = true, fmt.Sprintf("%d-%d", w, n)
							c.Set(key, []byte(in.value))
						case 3:
							views := make([]View, 1)
							c.GetMany([][]byte{key}, views)
							if views[0].Found() {
								out = string(views[0].Value())
							}
							views[0].Release()
						default:
							out = get(c, key)
						}
						history[w] = append(history[w], porcupine.Operation{ClientId: w, Input: in, Call: call, Output: out, Return: int64(time.Since(start))})
					}
				})
			}
			// Others fill the cache: rows split, and with a small budget segments are emptied.
			stop := make(chan struct{})
			var filler sync.WaitGroup
			filler.Go(func() {
				size := 40
				if evicting {
					size = 4000
				}
				for i := 0; evicting || i < 200_000; i++ {
					select {
					case <-stop:
						return
					default:
						c.Set(keyOf(i), make([]byte, size))
					}
				}
			})
			wg.Wait()
			close(stop)
			filler.Wait()
			var all []porcupine.Operation
			for _, h := range history {
				all = append(all, h...)
			}
			require.Greater(t, len(all), 100)
			require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(register(evicting), all, time.Minute))
			if evicting {
				require.Positive(t, c.Stats().Emptied)
			}
			checkIndex(t, c)
		})
	}
}
