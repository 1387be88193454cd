package cache

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A model knows every value that a key may have: what was set last, or nothing,
// since an entry may be evicted at any time, but then stays away.
type model struct {
	c      *Cache
	clock  *ticker
	values map[string]modelValue
	views  []modelView
	gens   map[string]modelGeneration
	step   uint64
}

type modelValue struct {
	value  string
	absent bool
	until  time.Duration // 0: for ever
}

type modelView struct {
	v    View
	want string
}

type modelGeneration struct {
	g     Generation
	moved bool
}

func (m *model) moved(key string) {
	// The whole shard's generation moves; keys are told apart only where it must be exact.
	if g, ok := m.gens[key]; ok {
		g.moved = true
		m.gens[key] = g
	}
}

// do performs one operation, chosen by op, and compares.
func (m *model) do(op, k, size, extra int) error {
	m.step++
	key := fmt.Sprintf("key-%d", k)
	value := string(valueOf(nil, uint64(k), m.step, size))
	switch op {
	case 0, 1:
		m.keep(key, modelValue{value: value}, m.c.Set([]byte(key), []byte(value)))
		m.moved(key)
	case 2:
		ttl := time.Duration(extra) * time.Second
		ok := m.c.SetTTL([]byte(key), []byte(value), ttl)
		m.keep(key, modelValue{value: value, until: m.clock.now + ttl}, ok && ttl > 0)
		m.moved(key)
	case 3:
		m.c.Delete([]byte(key))
		delete(m.values, key)
		m.moved(key)
	case 4:
		m.gens[key] = modelGeneration{g: m.c.Generation([]byte(key))}
	case 5, 6:
		g, ok := m.gens[key]
		if !ok {
			return nil
		}
		var kept bool
		if op == 5 {
			kept = m.c.Fill(g.g, []byte(key), []byte(value))
		} else {
			kept = m.c.FillAbsent(g.g, []byte(key))
		}
		if kept && g.moved {
			return fmt.Errorf("a fill of %s of an old generation was kept", key)
		}
		if kept {
			m.keep(key, modelValue{value: value, absent: op == 6}, true)
		}
	case 7:
		m.clock.now += time.Duration(extra) * time.Second / 2
	case 8:
		if len(m.views) > 0 {
			i := extra % len(m.views)
			mv := m.views[i]
			if string(mv.v.Value()) != mv.want {
				return fmt.Errorf("a view changed under its holder")
			}
			mv.v.Release()
			m.views = append(m.views[:i], m.views[i+1:]...)
		}
	default:
		keys := [][]byte{[]byte(key), fmt.Appendf(nil, "key-%d", k+1)}
		views := make([]View, 2)
		if op == 9 {
			m.c.GetMany(keys, views)
		} else {
			views[0], _ = m.c.Get(keys[0])
			views[1], _ = m.c.Get(keys[1])
		}
		for i, v := range views {
			if err := m.judge(string(keys[i]), v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *model) keep(key string, v modelValue, kept bool) {
	if kept {
		m.values[key] = v
	} else {
		delete(m.values, key)
	}
}

func (m *model) judge(key string, v View) error {
	want, ok := m.values[key]
	if !v.Found() {
		delete(m.values, key) // evicted: it may not come back by itself
		return nil
	}
	switch {
	case !ok:
		return fmt.Errorf("%s: a value where there is none", key)
	case want.until != 0 && want.until <= m.clock.now:
		return fmt.Errorf("%s: a value whose time is over", key)
	case want.absent != v.Absent():
		return fmt.Errorf("%s: absent is %v", key, v.Absent())
	case want.absent:
		return nil
	case string(v.Value()) != want.value:
		return fmt.Errorf("%s: another value", key)
	}
	if len(m.views) < 20 {
		m.views = append(m.views, modelView{v, want.value})
	} else {
		v.Release()
	}
	return nil
}

func (m *model) finish() error {
	for _, mv := range m.views {
		if string(mv.v.Value()) != mv.want {
			return fmt.Errorf("a view changed under its holder")
		}
		mv.v.Release()
	}
	if n := m.c.Stats().Views; n != 0 {
		return fmt.Errorf("%d views are left", n)
	}
	return m.c.Close()
}

func newModel(t fataler) *model {
	k := &ticker{}
	h := hooks{clock: k.clock, poison: true}
	if raceEnabled {
		h.region = onHeap
	}
	c, err := newCache(Options{Bytes: MinBytes, Lanes: 2}, h)
	if err != nil {
		t.Fatal(err)
	}
	return &model{c: c, clock: k, values: map[string]modelValue{}, gens: map[string]modelGeneration{}}
}

type fataler interface{ Fatal(...any) }

// TestModel runs random operations with values so large that segments turn over.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(1, 2000).Draw(t, "steps") {
			op := rapid.IntRange(0, 11).Draw(t, "op")
			size := rapid.IntRange(0, 30_000).Draw(t, "size")
			if err := m.do(op, rapid.IntRange(0, 300).Draw(t, "key"), size, rapid.IntRange(0, 4).Draw(t, "extra")); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.finish(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzOperations is TestModel for a fuzzer: four bytes an operation.
func FuzzOperations(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x0a\x01\x00\x00\x03\x01\x00\x00\x0a\x01\x00\x00"))
	f.Add([]byte("\x04\x01\x00\x00\x05\x01\xff\x00\x03\x01\x00\x00\x05\x01\x10\x00\x09\x00\x00\x00\x08\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		m := newModel(t)
		for ; len(script) >= 4; script = script[4:] {
			if err := m.do(int(script[0])%12, int(script[1]), int(script[2])*120, int(script[3])%5); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.finish(); err != nil {
			t.Fatal(err)
		}
	})
}
