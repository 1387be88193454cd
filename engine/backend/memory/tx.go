package memory

import (
	"bytes"
	"crypto/md5"
	"fmt"

	"github.com/cairnstore/cairn/engine/backend"
)

// tx gathers one transaction's mutations and applies them in their order.
type tx struct {
	b       *Backend
	seq     uint64
	ops     []op
	adopted []backend.StagedBlob
	dropped []backend.BlobID
	groups  []uint64
	stripes []int
}

// op is a Put, or the deletion of put.Key.
type op struct {
	put      backend.Put
	deletion bool
}

var _ backend.Tx = (*tx)(nil)

func (t *tx) Seq() uint64 { return t.seq }

func (t *tx) Get(key []byte) (backend.Entry, bool, error) {
	t.b.mu.RLock()
	r := t.b.mu.records.get(key)
	t.b.mu.RUnlock()
	if r == nil {
		return backend.Entry{}, false, nil
	}
	return r.entry(), true, nil
}

func (t *tx) First(lower, upper []byte) (backend.Entry, bool, error) {
	t.b.mu.RLock()
	r := t.b.mu.records.first(lower, upper)
	t.b.mu.RUnlock()
	if r == nil {
		return backend.Entry{}, false, nil
	}
	return r.entry(), true, nil
}

func (t *tx) Empty(lower, upper []byte) (bool, error) {
	_, some, err := t.First(lower, upper)
	return !some, err
}

func (t *tx) Put(p backend.Put) { t.ops = append(t.ops, op{put: p}) }
func (t *tx) Delete(key []byte) {
	t.ops = append(t.ops, op{put: backend.Put{Key: key}, deletion: true})
}
func (t *tx) AdoptBlob(s backend.StagedBlob) { t.adopted = append(t.adopted, s) }
func (t *tx) DropBlob(id backend.BlobID)     { t.dropped = append(t.dropped, id) }
func (t *tx) DropBlobs(group uint64)         { t.groups = append(t.groups, group) }
func (t *tx) Frees()                         {} // there is always room

func (t *tx) release() {
	clear(t.ops)
	clear(t.adopted)
	t.ops, t.adopted, t.dropped, t.groups = t.ops[:0], t.adopted[:0], t.dropped[:0], t.groups[:0]
	t.b.txs.Put(t)
}

// discard frees the staged blobs of a refused transaction.
func (t *tx) discard() {
	for _, s := range t.adopted {
		s.Discard()
	}
}

// commit applies everything, or nothing and says why.
func (t *tx) commit() error {
	b := t.b
	b.mu.Lock()
	err := t.check()
	if err != nil {
		b.mu.Unlock()
		t.discard()
		return err
	}
	defer b.mu.Unlock()
	for _, s := range t.adopted {
		b.mu.blobs[s.ID()].owned = true
	}
	kept := t.kept()
	for i := range t.ops {
		if t.ops[i].deletion {
			b.remove(t.ops[i].put.Key, kept)
		} else {
			b.put(&t.ops[i].put, t.seq, kept)
		}
	}
	for _, id := range t.dropped {
		delete(b.mu.blobs, id)
	}
	for _, g := range t.groups {
		b.dropGroup(g)
	}
	return nil
}

// check refuses what a caller may not do and a real backend could not detect later.
func (t *tx) check() error {
	if t.b.mu.fail != nil && len(t.ops) > 0 {
		return t.b.mu.fail
	}
	for _, s := range t.adopted {
		if bl, ok := t.b.mu.blobs[s.ID()]; !ok || bl.owned {
			return fmt.Errorf("memory: blob %v is not staged", s.ID())
		}
	}
	for i := range t.ops {
		p := &t.ops[i].put
		if int64(len(p.Body)) > t.b.maxInline {
			return fmt.Errorf("memory: inline body of %d bytes", len(p.Body))
		}
		if p.Keep.Segment != 0 {
			held, ok := t.b.mu.bodies[p.Keep.Segment]
			if !ok {
				return fmt.Errorf("memory: body kept by %q: %w", p.Key, backend.ErrMoved)
			}
			if a := t.b.alias; a != nil && !bytes.Equal(p.Key, held.key) && !bytes.Equal(p.Key, a(held.key, nil, held.seq)) {
				return fmt.Errorf("memory: body of %q, sequence %d, cannot pass to %q", held.key, held.seq, p.Key)
			}
		}
	}
	return nil
}

// kept are the bodies that pass from one record to another.
func (t *tx) kept() map[uint64]bool {
	var kept map[uint64]bool
	for i := range t.ops {
		if s := t.ops[i].put.Keep.Segment; s != 0 {
			if kept == nil {
				kept = map[uint64]bool{}
			}
			kept[s] = true
		}
	}
	return kept
}

func (b *Backend) put(p *backend.Put, seq uint64, kept map[uint64]bool) {
	if old := b.mu.records.get(p.Key); old != nil {
		b.forget(old, kept)
	}
	both := append(append(make([]byte, 0, len(p.Key)+len(p.Value)), p.Key...), p.Value...)
	if p.MD5 != nil {
		*p.MD5 = md5.Sum(p.Body)
		copy(both[len(p.Key)+p.MD5At:], p.MD5[:])
	}
	r := &record{key: both[:len(p.Key):len(p.Key)], value: both[len(p.Key):], seq: seq, space: p.Space, weight: p.Weight, body: p.Keep}
	if len(p.Body) > 0 {
		b.mu.lastBody++
		r.body = backend.BodyRef{Segment: b.mu.lastBody, Length: uint32(len(p.Body))}
		b.mu.bodies[b.mu.lastBody] = &body{bytes.Clone(p.Body), r.key, seq}
	}
	b.count(p.Space, 1, p.Weight)
	b.mu.records.set(r)
}

func (b *Backend) remove(key []byte, kept map[uint64]bool) {
	if old := b.mu.records.get(key); old != nil {
		b.forget(old, kept)
		b.mu.records.remove(key)
	}
}

// forget undoes a record's counting and frees its body.
func (b *Backend) forget(r *record, kept map[uint64]bool) {
	b.count(r.space, -1, -r.weight)
	if r.body.Segment != 0 && !kept[r.body.Segment] {
		delete(b.mu.bodies, r.body.Segment)
	}
}

func (b *Backend) count(space uint64, entries, size int64) {
	if space == 0 {
		return
	}
	c := b.mu.spaces[space]
	c.entries += entries
	c.bytes += size
	if c == (count{}) {
		delete(b.mu.spaces, space)
		return
	}
	b.mu.spaces[space] = c
}
