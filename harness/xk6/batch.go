package xk6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
)

// Bounds on a batch.
const (
	maxBatch = 1 << 16
	maxValue = 64 << 20
)

// batchOptions are what `new Batch` takes.
type batchOptions struct {
	Count  int    `json:"count"`  // pairs in each call
	Size   int    `json:"size"`   // bytes of each value
	Keys   uint64 `json:"keys"`   // how many keys there are; 0: each is new
	Prefix string `json:"prefix"` // of the keys
	Seed   uint64 `json:"seed"`
}

// A Batch makes keys and values where they are used: handing a million of them
// from JavaScript to Go each second would be what is measured. One VU's own.
type Batch struct {
	batchOptions
	instance *instance
	random   *rand.Rand
	made     uint64

	keys, values [][]byte
}

func newBatch(i *instance, v sobek.Value) (*Batch, error) {
	b := &Batch{instance: i}
	if err := i.options(v, &b.batchOptions); err != nil {
		return nil, fmt.Errorf("new Batch: %w", err)
	}
	if b.Count < 1 || b.Count > maxBatch || b.Size < 0 || b.Size > maxValue || b.Count*b.Size > 1<<30 {
		return nil, errors.New("new Batch: want a count of 1 to 65536 and a size up to 64 MiB, together up to 1 GiB")
	}
	return b, nil
}

// start makes the room for one batch, at the first call: init code runs for VUs
// that never do anything.
func (b *Batch) start() {
	if b.random != nil {
		return
	}
	b.random = rand.New(rand.NewPCG(b.Seed, b.instance.vu.State().VUIDGlobal))
	all := make([]byte, b.Count*b.Size)
	for at := 0; at+8 <= len(all); at += 8 {
		binary.LittleEndian.PutUint64(all[at:], b.random.Uint64())
	}
	for n := range b.Count {
		b.keys = append(b.keys, make([]byte, 0, len(b.Prefix)+16))
		b.values = append(b.values, all[n*b.Size:(n+1)*b.Size])
	}
}

// next are the keys and values of the next call, valid until the one after it.
func (b *Batch) next() (keys, values [][]byte) {
	b.start()
	for n := range b.keys {
		id := b.random.Uint64()
		if b.Keys > 0 {
			id %= b.Keys
		}
		key := append(b.keys[n][:0], b.Prefix...)
		for shift := 60; shift >= 0; shift -= 4 {
			key = append(key, "0123456789abcdef"[id>>shift&15])
		}
		b.keys[n] = key
		if b.Size >= 8 {
			b.made++
			binary.LittleEndian.PutUint64(b.values[n], b.made)
		}
	}
	return b.keys, b.values
}

// export is what a script gave, nil where it gave nothing.
func export(v sobek.Value) any {
	if v == nil {
		return nil
	}
	return v.Export()
}

// pairs are the keys and values that a script gave: a Batch, or an array of
// [key, value].
func (i *instance) pairs(v sobek.Value) (keys, values [][]byte, err error) {
	if b, ok := export(v).(*Batch); ok {
		keys, values = b.next()
		return keys, values, nil
	}
	list, ok := export(v).([]any)
	if !ok || len(list) == 0 || len(list) > maxBatch {
		return nil, nil, errors.New("want a Batch, or an array of 1 to 65536 pairs [key, value]")
	}
	for n, one := range list {
		pair, ok := one.([]any)
		if !ok || len(pair) != 2 {
			return nil, nil, fmt.Errorf("element %d: want a pair [key, value]", n)
		}
		key, ok := pair[0].(string)
		if !ok || key == "" {
			return nil, nil, fmt.Errorf("element %d: want a key that is a string", n)
		}
		value, err := common.ToBytes(pair[1])
		if err != nil {
			return nil, nil, fmt.Errorf("element %d: value: %w", n, err)
		}
		keys, values = append(keys, []byte(key)), append(values, value)
	}
	return keys, values, nil
}

// names are the keys that a script gave: a Batch, or an array of strings.
func (i *instance) names(v sobek.Value) ([][]byte, error) {
	if b, ok := export(v).(*Batch); ok {
		keys, _ := b.next()
		return keys, nil
	}
	list, ok := export(v).([]any)
	if !ok || len(list) == 0 || len(list) > maxBatch {
		return nil, errors.New("want a Batch, or an array of 1 to 65536 keys")
	}
	var keys [][]byte
	for n, one := range list {
		key, ok := one.(string)
		if !ok || key == "" {
			return nil, errors.New("element " + strconv.Itoa(n) + ": want a key that is a string")
		}
		keys = append(keys, []byte(key))
	}
	return keys, nil
}
