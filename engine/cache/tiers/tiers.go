package tiers

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/cache"
)

// A Tier keeps values below memory. Get appends to dst, or returns it as it was
// and false for whatever reason. Set and Delete do not wait for the tier's drive
// or server, and may be dropped. Safe for concurrent use.
type Tier interface {
	Get(ctx context.Context, key, dst []byte) ([]byte, bool)
	Set(key, value []byte)
	Delete(key []byte)
}

// The longest key in memory whose value may go further down.
const (
	maxKey       = 44
	namespaceLen = 16
	lowerKeyLen  = namespaceLen + maxKey + 4
)

// Options configure Tiers.
type Options struct {
	// Memory is the first tier. Its OnEvict is this package's.
	Memory cache.Options
	// Demotes says of a key in memory whether its value never changes, so that
	// it may be kept further down when memory evicts it. It must not wait. Nil: of none.
	Demotes func(key []byte) bool
	// Go runs work in the background, or refuses it at once. Nil: goroutines.
	Go func(work func()) error
	// QueueBytes bounds the values that wait to be demoted: 8 MiB.
	QueueBytes int64
}

// Tiers is one cache of several. Safe for concurrent use, but for Close.
type Tiers struct {
	memory  *cache.Cache
	demotes func(key []byte) bool
	below   atomic.Pointer[below]
	queue   queue
	flights flights
	ahead   marks
	stats   counters
}

// below is what lies under memory.
type below struct {
	namespace [namespaceLen]byte
	flash     Tier // nil: none
	shared    Tier // nil: none
}

// New makes a cache of memory alone, under which Below puts other tiers.
func New(o Options) (*Tiers, error) {
	if o.QueueBytes == 0 {
		o.QueueBytes = 8 << 20
	}
	if o.QueueBytes < 0 {
		return nil, fmt.Errorf("tiers: QueueBytes %d", o.QueueBytes)
	}
	if o.Go == nil {
		o.Go = func(work func()) error { go work(); return nil }
	}
	t := &Tiers{demotes: o.Demotes}
	t.queue.init(o.QueueBytes, o.Go, t.demote)
	if o.Demotes != nil {
		o.Memory.OnEvict = t.evicted
	}
	var err error
	if t.memory, err = cache.New(o.Memory); err != nil {
		return nil, err
	}
	return t, nil
}

// Memory is the first tier, to be asked first.
func (t *Tiers) Memory() *cache.Cache { return t.memory }

// Below puts tiers under memory; each may be nil. The namespace is the store's
// identity: a directory or a server may hold what other stores left there. The
// caller closes the tiers, after Stop.
func (t *Tiers) Below(namespace [16]byte, flash, shared Tier) {
	b := &below{namespace: namespace, flash: flash, shared: shared}
	if flash == nil && shared == nil {
		b = nil
	}
	t.below.Store(b)
}

// Stop ends demotion: what waits is still brought down, what comes later is
// not. The tiers below are not asked any more when it has returned nil; with
// ctx's error they may be.
func (t *Tiers) Stop(ctx context.Context) error {
	err := t.queue.stop(ctx)
	t.below.Store(nil)
	return err
}

// Close gives the memory back, after Stop and on cache.Close's conditions.
func (t *Tiers) Close() error { return t.memory.Close() }

// A Sum is what a value must be, as a record says that cannot be wrong.
type Sum struct {
	Length uint32
	CRC    uint32 // CRC32C
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s Sum) of(value []byte) bool {
	return len(value) == int(s.Length) && crc32.Checksum(value, castagnoli) == s.CRC
}

// lowerKey is a key below memory: whose it is, the key, and the value's
// checksum. The last is so that a store that was set back to an earlier copy,
// and gives the same places out again, finds nothing of what was there before.
func (b *below) lowerKey(room *[lowerKeyLen]byte, key []byte, crc uint32) []byte {
	k := append(room[:0], b.namespace[:]...)
	k = append(k, key...)
	return append(k, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
}

// Fetch returns a value that memory does not have, appended to dst: from the
// first tier that has it, else from home, whose value is verified already. What
// is found is kept in memory. Of those who miss a key together one looks, and
// the others wait for it. home appends to what it is given.
func (t *Tiers) Fetch(ctx context.Context, key []byte, sum Sum, dst []byte, home func(dst []byte) ([]byte, error)) ([]byte, error) {
	f, other := t.flights.join(key)
	if other != nil {
		t.stats.joined.Add(1)
		if out, ok := t.wait(ctx, other, key, dst); ok {
			return out, nil
		}
		if err := ctx.Err(); err != nil {
			return dst, err
		}
		// The other failed, or memory did not keep what it found.
		return t.look(ctx, key, sum, dst, home)
	}
	defer t.flights.leave(key, f)
	out, err := t.look(ctx, key, sum, dst, home)
	if err == nil {
		t.memory.Add(key, out[len(dst):])
	}
	return out, err
}

// wait waits for another's look-up, and takes from memory what it has left there.
func (t *Tiers) wait(ctx context.Context, other <-chan struct{}, key, dst []byte) ([]byte, bool) {
	select {
	case <-other:
	case <-ctx.Done():
		return dst, false
	}
	v, ok := t.memory.Get(key)
	if !ok {
		return dst, false
	}
	defer v.Release()
	return append(dst, v.Value()...), true
}

// look asks the tiers below memory, and then home.
func (t *Tiers) look(ctx context.Context, key []byte, sum Sum, dst []byte, home func([]byte) ([]byte, error)) ([]byte, error) {
	if b := t.below.Load(); b != nil && len(key) <= maxKey {
		var room [lowerKeyLen]byte
		lower := b.lowerKey(&room, key, sum.CRC)
		if b.flash != nil {
			if out, ok := t.ask(ctx, b.flash, &t.stats.flash, lower, sum, dst); ok {
				return out, nil
			}
		}
		if b.shared != nil {
			if out, ok := t.ask(ctx, b.shared, &t.stats.shared, lower, sum, dst); ok {
				return out, nil
			}
		}
	}
	out, err := home(dst)
	if err != nil {
		t.stats.failures.Add(1)
		return dst, err
	}
	t.stats.home.hits.Add(1)
	t.stats.home.bytes.Add(int64(len(out) - len(dst)))
	return out, nil
}

func (t *Tiers) ask(ctx context.Context, tier Tier, n *tierCounters, lower []byte, sum Sum, dst []byte) ([]byte, bool) {
	out, ok := tier.Get(ctx, lower, dst)
	if !ok {
		n.misses.Add(1)
		return dst, false
	}
	if !sum.of(out[len(dst):]) {
		// Its own checksums say that it is what was set; so that was wrong.
		n.wrong.Add(1)
		n.misses.Add(1)
		tier.Delete(lower)
		return dst, false
	}
	n.hits.Add(1)
	n.bytes.Add(int64(len(out) - len(dst)))
	return out, true
}

// Keep is for a value that was just written: it goes to memory, and down in the
// background. It borrows both until it returns, and waits for nothing.
func (t *Tiers) Keep(key, value []byte) {
	t.stats.kept.Add(1)
	t.memory.Add(key, value)
	if t.below.Load() != nil && len(key) <= maxKey {
		t.queue.put(key, value)
	}
}

// evicted is called under a lock of memory's.
func (t *Tiers) evicted(key, value []byte) {
	if t.below.Load() == nil || len(key) > maxKey || len(value) == 0 || !t.demotes(key) {
		return
	}
	t.queue.put(key, value)
}

// demote brings one value down.
func (t *Tiers) demote(key, value []byte) {
	b := t.below.Load()
	if b == nil {
		return
	}
	// Of the bytes as they are: what memory has damaged is found by nobody.
	var room [lowerKeyLen]byte
	lower := b.lowerKey(&room, key, crc32.Checksum(value, castagnoli))
	if b.flash != nil {
		b.flash.Set(lower, value)
	}
	if b.shared != nil {
		b.shared.Set(lower, value)
	}
	t.stats.demoted.Add(1)
	t.stats.demotedBytes.Add(int64(len(value)))
}
