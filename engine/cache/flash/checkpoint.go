package flash

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

const (
	checkpointFile   = "checkpoint"
	checkpointHeader = 64
	regionRow        = 24
	sectionHeader    = 8
	entrySize        = 12
)

// checkpointSize is what one takes on the drive at most.
func checkpointSize(entries, regions int64) int64 {
	return roundUp(checkpointHeader + regions*regionRow + 4 + shards*sectionHeader + entries*entrySize)
}

// A row says of a region what a checkpoint knows of it.
type row struct {
	region  int
	life    uint64
	seq     uint64
	covered int64 // entries up to here are in the checkpoint, in bytes
}

// due says whether the index should be written. Its size against what is at
// stake: a scan of a little that is new is cheap, and each checkpoint wears the
// drive.
func (w *writer) due() bool {
	const worth = 16
	return !w.c.off.Load() && w.since >= worth*checkpointSize(w.c.index.count.Load(), int64(len(w.c.regions))) &&
		time.Since(w.checkpoint) >= w.c.opt.CheckpointEvery
}

// save writes what was gathered, makes the regions durable, and then the index.
func (w *writer) save() {
	w.c.gather.sealNow(false)
	w.writeFull()
	if w.c.off.Load() || w.c.index.count.Load() > w.c.opt.Entries {
		return
	}
	rows := w.rows()
	for _, r := range w.c.regions {
		if !r.dirty {
			continue
		}
		if err := r.file.Sync(); err != nil {
			w.c.fail("sync", fmt.Errorf("region %d: %w", r.number, err))
			return
		}
		r.dirty = false
	}
	n, err := w.c.writeCheckpoint(rows)
	w.c.rate.charge(n)
	w.c.stats.written.Add(n)
	if err != nil {
		w.c.fail("checkpoint", err)
		return
	}
	w.c.stats.checkpoints.Add(1)
	w.since, w.checkpoint = 0, time.Now()
}

func (w *writer) rows() []row {
	w.c.gather.mu.RLock()
	defer w.c.gather.mu.RUnlock()
	var rows []row
	for _, r := range w.c.regions {
		if life := r.life.Load(); life != 0 {
			rows = append(rows, row{r.number, life, r.seq, r.written.Load()})
		}
	}
	return rows
}

// writeCheckpoint puts a checkpoint in place of the last one and returns how
// much that wrote.
func (c *Cache) writeCheckpoint(rows []row) (n int64, err error) {
	return replaceFile(c.opt.FS, checkpointFile, func(f *appender) {
		le := binary.LittleEndian
		b := make([]byte, checkpointHeader, checkpointHeader+len(rows)*regionRow+4)
		le.PutUint32(b, checkpointMagic)
		b[4] = formatVersion
		copy(b[8:24], c.id[:])
		_, _ = rand.Read(b[24:32]) // never fails; names this checkpoint
		le.PutUint32(b[32:], uint32(len(rows)))
		le.PutUint32(b[36:], shards)
		le.PutUint32(b[60:], crc(b[:60]))
		covered := make([]int64, len(c.regions))
		for _, r := range rows {
			covered[r.region] = r.covered
			b = le.AppendUint32(b, uint32(r.region))
			b = le.AppendUint32(b, uint32(r.covered/blockSize))
			b = le.AppendUint64(b, r.life)
			b = le.AppendUint64(b, r.seq)
		}
		b = le.AppendUint32(b, crc(b[24:]))
		f.append(b)
		name := b[24:32]
		var hashes []uint32
		var places []place
		var section []byte
		for i := range shards {
			hashes, places = c.index.entries(i, hashes[:0], places[:0])
			section = append(section[:0], make([]byte, sectionHeader)...)
			for j, p := range places {
				// What is set meanwhile may not be on the drive when this is.
				if p.end() <= covered[p.region()] {
					section = le.AppendUint32(section, hashes[j])
					section = le.AppendUint64(section, uint64(p))
				}
			}
			le.PutUint32(section, uint32((len(section)-sectionHeader)/entrySize))
			le.PutUint32(section[4:], sectionCRC(name, i, section))
			f.append(section)
		}
	})
}

// sectionCRC binds a shard's entries to their checkpoint and shard.
func sectionCRC(name []byte, shard int, section []byte) uint32 {
	sum := crc(name)
	sum = crc32.Update(sum, castagnoli, []byte{byte(shard)})
	sum = crc32.Update(sum, castagnoli, section[:4])
	return crc32.Update(sum, castagnoli, section[sectionHeader:])
}

// readCheckpoint calls begin with what a checkpoint knows of the regions, then
// for each shard room with the number of its entries, and each with the
// entries. It may fail after some of them.
func readCheckpoint(r io.Reader, id identity, begin func([]row), room func(shard, n int), each func(shard int, hash uint32, p place)) error {
	le := binary.LittleEndian
	b := make([]byte, checkpointHeader)
	if _, err := io.ReadFull(r, b); err != nil {
		return errInvalid
	}
	if le.Uint32(b) != checkpointMagic || le.Uint32(b[60:]) != crc(b[:60]) {
		return errInvalid
	}
	if b[4] > formatVersion {
		return ErrVersion
	}
	regions := int(le.Uint32(b[32:]))
	if identity(b[8:24]) != id || regions > maxRegions || le.Uint32(b[36:]) != shards {
		return errInvalid
	}
	table := make([]byte, checkpointHeader+regions*regionRow+4)
	copy(table, b)
	if _, err := io.ReadFull(r, table[checkpointHeader:]); err != nil {
		return errInvalid
	}
	end := len(table) - 4
	if le.Uint32(table[end:]) != crc(table[24:end]) {
		return errInvalid
	}
	rows := make([]row, regions)
	for i := range rows {
		t := table[checkpointHeader+i*regionRow:]
		rows[i] = row{int(le.Uint32(t)), le.Uint64(t[8:]), le.Uint64(t[16:]), int64(le.Uint32(t[4:])) * blockSize}
	}
	begin(rows)
	section := make([]byte, sectionHeader)
	for i := range shards {
		section = section[:sectionHeader]
		if _, err := io.ReadFull(r, section); err != nil {
			return errInvalid
		}
		var err error
		if section, err = readMore(r, section, int64(le.Uint32(section))*entrySize); err != nil {
			return errInvalid
		}
		if le.Uint32(section[4:]) != sectionCRC(b[24:32], i, section) {
			return errInvalid
		}
		room(i, (len(section)-sectionHeader)/entrySize)
		for e := section[sectionHeader:]; len(e) > 0; e = e[entrySize:] {
			each(i, le.Uint32(e), place(le.Uint64(e[4:])))
		}
	}
	return nil
}

// readMore appends n bytes, in steps: a damaged count must not ask for the
// memory that it names.
func readMore(r io.Reader, b []byte, n int64) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		k := int(min(n, step))
		at := len(b)
		b = append(b, make([]byte, k)...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return b, err
		}
		n -= int64(k)
	}
	return b, nil
}

// An appender writes a file from its beginning, in large writes.
type appender struct {
	f   disk.File
	b   []byte
	off int64
	err error
}

func (a *appender) append(p []byte) {
	a.b = append(a.b, p...)
	if len(a.b) >= 1<<20 {
		a.flush()
	}
}

func (a *appender) flush() {
	if a.err != nil || len(a.b) == 0 {
		return
	}
	_, a.err = a.f.WriteAt(a.b, a.off)
	a.off += int64(len(a.b))
	a.b = a.b[:0]
}

// replaceFile puts a file in place of another, durably and at once.
func replaceFile(fsys disk.FS, name string, fill func(*appender)) (n int64, err error) {
	fresh := name + ".new"
	if err := fsys.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	f, err := fsys.Create(fresh)
	if err != nil {
		return 0, err
	}
	a := &appender{f: f}
	fill(a)
	a.flush()
	if err = a.err; err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return a.off, err
	}
	if err := fsys.SyncDir("."); err != nil {
		return a.off, err
	}
	if err := fsys.Rename(fresh, name); err != nil {
		return a.off, err
	}
	return a.off, fsys.SyncDir(".")
}
