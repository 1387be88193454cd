package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

var (
	crashPoints = flag.Int("crash-points", 0, "crash points to try; 0: 2,000, or 100,000 with CAIRN_SOAK=1, or 300 with -short")
	crashSeed   = flag.Uint64("crash-seed", 1, "seed of the crash test's first script")
)

// history is what a client knows: what was acknowledged, and the one write that
// may or may not have happened.
type history struct {
	mu    sync.Mutex
	acked map[string]string // key to value; the body or blob is made from it
	key   string            // of the write under way
	next  *string           // nil: a delete
	busy  bool
}

func (h *history) begin(key string, next *string) {
	h.mu.Lock()
	h.key, h.next, h.busy = key, next, true
	h.mu.Unlock()
}

func (h *history) end() {
	h.mu.Lock()
	if h.next == nil {
		delete(h.acked, h.key)
	} else {
		h.acked[h.key] = *h.next
	}
	h.busy = false
	h.mu.Unlock()
}

// bytesOf makes the body that belongs to a value: its length is in it.
func bytesOf(value string) []byte {
	var n, kind int
	if _, err := fmt.Sscanf(value, "%d-%d", &kind, &n); err != nil {
		panic(err)
	}
	return bytes.Repeat([]byte(value+"/"), n/(len(value)+1)+1)[:n]
}

// script runs random writes against s until rounds are done or an error.
func script(s *Store, h *history, rng *rand.Rand, rounds int) error {
	for i := range rounds {
		key := fmt.Sprintf("k%02d", rng.IntN(24))
		_, there := h.acked[key]
		var b Batch
		var err error
		s.Begin()
		l, lerr := s.Latest([]byte(key))
		seq := s.NextSeq()
		switch what := rng.IntN(20); {
		case lerr != nil:
			err = lerr
		case what < 4 && there: // delete
			h.begin(key, nil)
			dropOld(&b, s, l, seq)
			b.Delete(seq, []byte(key), s.Guard())
		case what < 6 && there && l.Body.Segment != 0 && l.Body.Segment != PendingBody: // keep the body, change the metadata
			v := string(l.Value) + "+"
			h.begin(key, &v)
			b.Put(seq, &backend.Put{Key: []byte(key), Value: []byte(v), Space: 7, Weight: l.Weight, Keep: l.Body}, false)
		case what < 9: // a blob
			n := 10_000 + rng.IntN(100_000)
			if rng.IntN(8) == 0 {
				n += 1_500_000 // more than a chunk
			}
			group := s.NextSeq()
			v := fmt.Sprintf("2-%d-%d", n, group)
			h.begin(key, &v)
			var w *BlobWriter
			if w, err = s.Stage(ctx, backend.BlobID{Group: group}, int64(n)); err != nil {
				break
			}
			for rest := bytesOf(v); len(rest) > 0 && err == nil; {
				n := copy(w.Room(), rest)
				rest, err = rest[n:], w.Took(n)
			}
			var st backend.StagedBlob
			if err == nil {
				st, err = w.Finish()
			}
			w.Abort()
			if err != nil {
				break
			}
			dropOld(&b, s, l, seq)
			b.Adopt(seq, st.(*Staged))
			b.Put(seq, &backend.Put{Key: []byte(key), Value: []byte(v), Space: 7, Weight: int64(n)}, l.Fresh)
		default:
			n := rng.IntN(20_000)
			v := fmt.Sprintf("1-%d-%d", n, i)
			h.begin(key, &v)
			dropOld(&b, s, l, seq)
			b.Put(seq, &backend.Put{Key: []byte(key), Value: []byte(v), Body: bytesOf(v), Space: 7, Weight: int64(n)}, l.Fresh)
		}
		var t Ticket
		if err == nil {
			t, err = s.Append(&b)
		}
		s.End()
		if err == nil {
			err = t.Wait(ctx)
		}
		if err != nil {
			return err
		}
		h.end()
		if rng.IntN(15) == 0 {
			if err := s.Compact(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func blobGroup(value []byte) (uint64, bool) {
	var n int
	var g uint64
	_, err := fmt.Sscanf(string(value), "2-%d-%d", &n, &g)
	return g, err == nil
}

func dropOld(b *Batch, s *Store, l Look, seq uint64) {
	if g, ok := blobGroup(l.Value); ok && l.Found {
		b.DropBlob(seq, backend.BlobID{Group: g}, s.Guard())
	}
}

// content reads a key's value and checks that its body is the one of that value.
func content(s *Store, key string) (string, bool, error) {
	var e backend.Entry
	for range 100 {
		var found bool
		var err error
		e, found, err = s.Get([]byte(key), nil)
		if err != nil || !found {
			return "", false, err
		}
		var r backend.Body
		if g, ok := blobGroup(e.Value); ok {
			r, err = s.OpenBlob(backend.BlobID{Group: g}, 0, e.Weight)
		} else {
			r, err = s.OpenBody(&e, 0, int64(e.Body.Length))
		}
		if errors.Is(err, backend.ErrMoved) {
			continue
		}
		if err != nil {
			return "", false, fmt.Errorf("%s = %s at %+v: %w", key, e.Value, e.Body, err)
		}
		w := &expecting{value: strings.TrimRight(string(e.Value), "+") + "/"}
		_, err = io.Copy(w, r)
		if err = errors.Join(err, r.Close()); err != nil {
			return "", false, fmt.Errorf("%s = %s: %w", key, e.Value, err)
		}
		if w.n != e.Weight {
			return "", false, fmt.Errorf("%s = %s: %d bytes", key, e.Value, w.n)
		}
		return string(e.Value), true, nil
	}
	return "", false, fmt.Errorf("%s = %q at %+v moves for ever\n%s", key, e.Value, e.Body, dump(s, key))
}

// expecting takes what bytesOf makes and nothing else.
type expecting struct {
	value string // with its slash
	n     int64
}

func (w *expecting) Write(p []byte) (int, error) {
	for i := 0; i < len(p); {
		at := int(w.n) % len(w.value)
		k := min(len(w.value)-at, len(p)-i)
		if string(p[i:i+k]) != w.value[at:at+k] {
			return i, errors.New("wrong bytes")
		}
		i, w.n = i+k, w.n+int64(k)
	}
	return len(p), nil
}

// judge compares a recovered store with what the client knows.
func judge(s *Store, acked map[string]string, key string, next *string, busy bool) error {
	_, err := seen(s, acked, key, next, busy)
	return err
}

// seen is judge, and returns what there is.
func seen(s *Store, acked map[string]string, key string, next *string, busy bool) (map[string]string, error) {
	listed := map[string]bool{}
	it, err := s.NewIter([]byte{FirstKey}, nil)
	if err != nil {
		return nil, err
	}
	var weight int64
	for it.Next() {
		listed[string(it.Entry().Key)] = true
		weight += it.Entry().Weight
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		return nil, err
	}
	there := map[string]string{}
	for i := range 24 {
		k := fmt.Sprintf("k%02d", i)
		v, found, err := content(s, k)
		if err != nil {
			return nil, err
		}
		if found {
			there[k] = v
		}
		if found != listed[k] {
			return nil, fmt.Errorf("%s: readable %v, listed %v", k, found, listed[k])
		}
		want, exists := acked[k]
		ok := found == exists && v == want
		if busy && k == key && !ok {
			ok = next == nil && !found || next != nil && found && v == *next
		}
		if !ok {
			return nil, fmt.Errorf("%s: have %q %v, acknowledged %q %v (under way: %v %s %v)\n%s", k, v, found, want, exists, busy, key, next, dump(s, k))
		}
	}
	n, w := s.Count(7)
	if n != int64(len(listed)) || w != weight {
		return nil, fmt.Errorf("counted %d entries of %d bytes, there are %d of %d", n, w, len(listed), weight)
	}
	return there, nil
}

// TestCrash cuts the power before every operation of a script, in each way that
// a drive can lose what was not synced, and asks for every acknowledged write;
// then again, during the recovery, and after more writes.
func TestCrash(t *testing.T) {
	points := *crashPoints
	switch {
	case points > 0:
	case os.Getenv("CAIRN_SOAK") != "":
		points = 100_000
	case testing.Short():
		points = 300
	default:
		points = 2_000
	}
	for seed := *crashSeed; points > 0 && !t.Failed(); seed++ {
		n := min(points, crashesPerSeed)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			crashRun(t, seed, n)
		})
		points -= n
	}
}

// crashesPerSeed is how many crashes of one script are tried: more scripts find
// more than more moments of one.
const crashesPerSeed = 250

func crashRun(t *testing.T, seed uint64, points int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	// A first run counts the operations, to spread the points over them.
	fsys := disk.NewMemory(int64(seed))
	h := &history{acked: map[string]string{}}
	s := open(t, small(fsys))
	require.NoError(t, script(s, h, rand.New(rand.NewPCG(seed, 2)), 250))
	require.NoError(t, s.Close())
	every := max(1, int(fsys.Ops())*len(disk.CrashModes)/points)

	fsys = disk.NewMemory(int64(seed))
	h = &history{acked: map[string]string{}}
	var once sync.Mutex
	n, tried := 0, 0
	var failure error
	fsys.SetHook(func(op disk.Op) error {
		if !op.Kind.Mutates() {
			return nil
		}
		once.Lock()
		defer once.Unlock()
		n++
		if failure != nil {
			return failure
		}
		if n%every != 0 {
			return nil
		}
		h.mu.Lock()
		acked, key, next, busy := maps.Clone(h.acked), h.key, h.next, h.busy
		h.mu.Unlock()
		for _, mode := range disk.CrashModes {
			tried++
			if err := crashPoint(t, fsys.Fork(mode, rng), rng, acked, key, next, busy); err != nil {
				failure = fmt.Errorf("crash %v before operation %d (%v): %w", mode, n, op, err)
				return failure
			}
		}
		return nil
	})
	s, err := Open(small(fsys))
	if err == nil {
		err = script(s, h, rand.New(rand.NewPCG(seed, 2)), 250)
		_ = s.Close() // after a failure its error is that failure again
	}
	fsys.SetHook(nil)
	require.NoError(t, failure)
	require.NoError(t, err)
	t.Logf("%d operations, %d crashes", n, tried)
}

func crashPoint(t *testing.T, fsys *disk.Memory, rng *rand.Rand, acked map[string]string, key string, next *string, busy bool) error {
	// Crash during the recovery too, one time in three.
	if rng.IntN(3) == 0 {
		at, mode := 1+rng.Int64N(40), disk.CrashModes[rng.IntN(len(disk.CrashModes))]
		seed := rng.Uint64()
		var once sync.Once
		var again *disk.Memory
		fsys.SetHook(func(op disk.Op) error {
			if op.Kind.Mutates() && op.N >= at {
				once.Do(func() { again = fsys.Fork(mode, rand.New(rand.NewPCG(seed, 3))) })
			}
			return nil
		})
		s, err := Open(small(fsys))
		if err != nil {
			return fmt.Errorf("recover: %w", err)
		}
		if err := s.Close(); err != nil {
			return fmt.Errorf("close: %w", err)
		}
		fsys.SetHook(nil)
		if again != nil {
			fsys = again
		}
	}
	if rng.IntN(5) == 0 {
		if err := removeAll(fsys, indexDir); err != nil {
			return err
		}
	}
	s, err := Open(small(fsys))
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	// What was read once must be read again after another crash.
	again, err := seen(s, acked, key, next, busy)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	after := fsys.Fork(disk.CrashModes[rng.IntN(len(disk.CrashModes))], rng)
	if err := s.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	if rng.IntN(4) == 0 {
		for name, fsys := range map[string]*disk.Memory{"recovered": fsys, "crashed again": after} {
			if r, err := Check(ctx, small(fsys), CheckOptions{}); err != nil {
				return err
			} else if !r.Sound() {
				return fmt.Errorf("check, %s: %+v, notes %q", name, r.Damage, r.Notes)
			}
		}
	}
	s, err = Open(small(after))
	if err != nil {
		return fmt.Errorf("recover again: %w", err)
	}
	defer func() { _ = s.Close() }() // the one that is open by then
	if err := judge(s, again, "", nil, false); err != nil {
		return fmt.Errorf("after a second crash: %w", err)
	}
	h := &history{acked: again}
	if err := script(s, h, rng, 10); err != nil {
		return fmt.Errorf("write after recovery: %w", err)
	}
	if err := judge(s, h.acked, "", nil, false); err != nil {
		return fmt.Errorf("after writes after recovery: %w", err)
	}
	if rng.IntN(4) != 0 {
		return nil
	}
	// The log alone must still say the same.
	if err := errors.Join(s.Close(), removeAll(after, indexDir)); err != nil {
		return err
	}
	remade, err := Open(small(after))
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	s = remade
	if err := judge(s, h.acked, "", nil, false); err != nil {
		return fmt.Errorf("after a rebuild: %w", err)
	}
	return nil
}
