package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/cairnstore/cairn/engine/disk"
)

// openIndex opens the index for reading. Without one the rest of the check goes on.
func (c *checker) openIndex() {
	damaged := func(err error) {
		c.damage(Damage{What: "index", File: indexDir, Detail: err.Error() + "; the next start makes it again from the log"})
	}
	o := &c.s.opt
	if _, err := o.FS.Stat(condemned); err == nil {
		damaged(errors.New("it was marked as damaged"))
		return
	}
	if _, err := o.FS.Stat(indexDir); errors.Is(err, fs.ErrNotExist) {
		damaged(errors.New("it is missing"))
		return
	}
	db, err := openIndex(o, true, func(error, bool) {})
	if err != nil {
		damaged(err)
		return
	}
	c.s.db = db
	if _, closer, err := db.Get(identityKey); errors.Is(err, pebble.ErrNotFound) {
		c.note("the index was never brought to the drive; the next start makes it from the log")
		return
	} else if err == nil {
		_ = closer.Close()
	}
	foreign, err := c.s.loadIndex()
	if err == nil && foreign {
		err = errors.New("it is not of this log, or has lost what it had made durable")
	}
	if err != nil {
		damaged(err)
		return
	}
	for _, n := range c.s.missing {
		c.damage(Damage{What: "segment", Segment: n, Detail: "the index counts live bytes in it, and no file has it"})
	}
	c.s.missing = nil
	c.s.missLogs()
	for _, n := range c.s.missing {
		c.damage(Damage{What: "segment", Segment: n, Detail: "the log segment after it names it, and no file has it"})
	}
	for _, x := range c.s.segs.suspects {
		if x.life.past(c.s.applier.mu.mark.seq) {
			c.damage(Damage{What: "header", File: x.name, Detail: "it is lost, and there are acknowledged writes behind it that the index does not have"})
		}
	}
	c.index, c.mark = true, c.s.applier.mu.mark
}

// checkIndex compares every entry with the log, and the log's keys with the
// entries; then what the entries add up to with the counters.
func (c *checker) checkIndex() error {
	if !c.index {
		return nil
	}
	c.checkTables()
	c.phase("index", "entries", c.s.applier.entries())
	it, err := c.s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{metaPrefix + 1}})
	if err != nil {
		return err
	}
	ch := newChange()
	for it.First(); it.Valid() && c.ctx.Err() == nil; it.Next() {
		c.report.IndexEntries++
		c.advance("index", "entries", 1)
		v, err := it.ValueAndErr()
		if err != nil {
			break // the iterator tells it
		}
		x, _, err := decodeIndexEntry(v)
		if err == nil {
			err = ch.count(it.Key(), &x, 1)
		}
		if err != nil {
			c.damage(Damage{What: "index", File: indexDir, Key: fmt.Sprintf("%q", it.Key()), Detail: err.Error()})
			if k := c.keys.slot(c.hash(it.Key()), false); k != nil {
				k.place |= slotSeen
			}
			continue
		}
		c.checkEntry(it.Key(), &x)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		c.damage(Damage{What: "index", File: indexDir, Detail: err.Error()})
		return nil // what was not reached can't be judged
	}
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	c.checkMissing()
	c.checkCounters(ch)
	return nil
}

// checkTables verifies every block of the index's files, those too that only
// some look-ups read.
func (c *checker) checkTables() {
	levels, err := c.s.db.SSTables()
	if err != nil {
		c.damage(Damage{What: "index", File: indexDir, Detail: err.Error()})
		return
	}
	for _, level := range levels {
		for _, t := range level {
			name := path.Join(indexDir, fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum)))
			if err := c.checkTable(name); err != nil {
				c.damage(Damage{What: "index", File: name, Detail: err.Error()})
			}
		}
	}
}

func (c *checker) checkTable(name string) (err error) {
	f, err := c.s.opt.IndexFS().Open(name)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, sstable.ReaderOptions{})
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return r.ValidateBlockChecksums()
}

func (c *checker) checkEntry(key []byte, x *indexEntry) {
	wrong := func(format string, a ...any) {
		c.damage(Damage{What: "index", Segment: x.rec.segment, Offset: int64(x.rec.group), Key: fmt.Sprintf("%q", key), Detail: fmt.Sprintf(format, a...)})
	}
	k := c.keys.slot(c.hash(key), false)
	if k == nil {
		if c.bad[recordRef{segment: x.rec.segment, group: x.rec.group}] {
			wrong("the record is in a damaged group")
		} else {
			wrong("no segment has a record of this key")
		}
		return
	}
	k.place |= slotSeen
	pending := k.place&slotPending != 0
	switch {
	case x.seq > k.seq:
		wrong("the record, of sequence %d, is not in the log; the newest there is %d", x.seq, k.seq)
	case pending:
		// The next start replays what is newer.
	case k.place&slotDelete != 0:
		wrong("the log deleted it with sequence %d", k.seq)
	case x.seq < k.seq:
		wrong("the index has sequence %d, the log a newer record, %d", x.seq, k.seq)
	case c.list[k.segment()].ordinal == x.rec.segment && k.group() == x.rec.group:
		if c.sum(x) != k.sum {
			wrong("the entry is not what its record says")
		}
	default:
		c.checkOtherCopy(key, x, k, wrong)
	}
}

// checkOtherCopy is for an entry that points to a copy of the newest record
// that a rebuild would not choose: compaction was cut off between the copying
// and the change of the index.
func (c *checker) checkOtherCopy(key []byte, x *indexEntry, k *keySlot, wrong func(string, ...any)) {
	i, ok := c.at[x.rec.segment]
	if !ok {
		wrong("the record's segment is not there")
		return
	}
	y, r, err := c.findRecord(c.list[i], x.rec.group, key, x.seq)
	if err != nil {
		wrong("%v", err)
		return
	}
	if c.sum(x) != c.sum(&y) {
		wrong("the entry is not what its record says")
		return
	}
	// What the entry names is what counts.
	k.place = k.place&(slotSeen|slotPending|slotDelete) | makePlace(i, x.rec.group)
	if r.body == keptBody || key[0] == blobPrefix {
		c.named[i] = true
	}
}

// checkMissing reports keys of the log that the index has not.
func (c *checker) checkMissing() {
	c.keys.all(func(k *keySlot) {
		if k.place&(slotDelete|slotSeen|slotPending) != 0 {
			return
		}
		g := c.list[k.segment()]
		var key []byte
		if len(c.report.Damage) < c.opt.MaxDamage {
			key = c.keyOf(g, k)
		}
		c.damageAt("index", g, int64(k.group()), key, fmt.Sprintf("the record, of sequence %d, is not in the index", k.seq))
	})
}

// keyOf reads the key that a slot stands for.
func (c *checker) keyOf(g *segment, k *keySlot) []byte {
	h, raw, _, err := readGroup(g, int64(k.group()), false)
	if err != nil {
		return nil
	}
	d := h.records(raw)
	var r record
	for d.next(&r) {
		if h := c.hash(r.key); h == k.hash || h == 0 && k.hash == 1 {
			return r.key
		}
	}
	return nil
}

// checkCounters compares what the entries add up to with what is counted.
func (c *checker) checkCounters(ch *change) {
	wrong := func(format string, a ...any) {
		c.damage(Damage{What: "counter", File: indexDir, Detail: fmt.Sprintf(format, a...)})
	}
	spaces := c.s.applier.mu.spaces
	c.report.Spaces = len(spaces)
	for space, have := range spaces {
		if want := ch.spaces[space]; want == nil || *want != have {
			if want == nil {
				want = &spaceCount{}
			}
			wrong("space %d counts %d entries of %d bytes, there are %d of %d", space, have.entries, have.bytes, want.entries, want.bytes)
		}
	}
	for space, want := range ch.spaces {
		if _, ok := spaces[space]; !ok && *want != (spaceCount{}) {
			wrong("space %d is not counted, there are %d entries of %d bytes", space, want.entries, want.bytes)
		}
	}
	for _, g := range c.list {
		st := ch.segment(g.ordinal)
		if g.mu.live != st.live {
			wrong("segment %d counts %d live bytes, there are %d", g.ordinal, g.mu.live, st.live)
		}
		if g.kind == bulkSegment && st.used > g.mu.used {
			wrong("segment %d counts as used up to %d, blobs reach %d", g.ordinal, g.mu.used, st.used)
		}
	}
}

// indexSize adds up the index's files.
func indexSize(fsys disk.FS) (n int64, err error) {
	names, err := fsys.List(indexDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, name := range names {
		info, serr := fsys.Stat(path.Join(indexDir, name))
		if serr == nil && !info.Dir && !strings.HasPrefix(name, indexLock) {
			n += info.Size
		}
	}
	return n, err
}
