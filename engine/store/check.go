package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk/pebblevfs"
)

// ErrNoStore: the directory holds no store.
var ErrNoStore = errors.New("there is no store here")

// A Progress says how far a long command is. Total is 0 while it is not known.
type Progress struct {
	Phase       string // "log", "index", "bodies" or "rebuild"
	Unit        string // "bytes", "entries" or "segments"
	Done, Total int64
}

// CheckOptions say how to check. The zero value is the default.
type CheckOptions struct {
	MaxDamage int            // how many are listed; all are counted. 100
	Progress  func(Progress) // called often, from one goroutine
}

// A Damage is one thing that is not as it must be.
type Damage struct {
	// What: identity, epoch, header, table, group, body, chunk, segment (one
	// that is missing), index or counter.
	What    string `json:"what"`
	File    string `json:"file,omitempty"`
	Segment uint64 `json:"segment,omitempty"`
	Offset  int64  `json:"offset,omitempty"`
	Key     string `json:"key,omitempty"` // quoted as Go does
	Detail  string `json:"detail"`
}

// String is a line of a report.
func (d *Damage) String() string {
	text := d.What
	if d.Segment != 0 {
		text += fmt.Sprintf(", segment %d", d.Segment)
	}
	if d.File != "" {
		text += fmt.Sprintf(", %s at %d", d.File, d.Offset)
	}
	if d.Key != "" {
		text += ", key " + d.Key
	}
	return text + ": " + d.Detail
}

// A CheckReport is what Check found. Sizes are in bytes.
type CheckReport struct {
	StoreID      string        `json:"store_id"`
	LogSegments  int           `json:"log_segments"` // those of compaction among them
	BulkSegments int           `json:"bulk_segments"`
	Groups       int64         `json:"groups"`
	Records      int64         `json:"records"` // superseded ones too
	Bodies       int64         `json:"bodies"`  // small ones, in the log
	Blobs        int64         `json:"blobs"`
	Chunks       int64         `json:"chunks"` // of blobs
	BytesRead    int64         `json:"bytes_read"`
	Keys         int64         `json:"keys"`          // that the log says there are
	IndexEntries int64         `json:"index_entries"` // as of the watermark
	Pending      int64         `json:"pending"`       // keys whose newest record the next start replays
	Spaces       int           `json:"spaces"`        // with a counter
	Notes        []string      `json:"notes,omitempty"`
	Damage       []Damage      `json:"damage"` // the first so many
	DamageCount  int64         `json:"damage_count"`
	Duration     time.Duration `json:"duration_ns"`
}

// Sound reports whether nothing is damaged.
func (r *CheckReport) Sound() bool { return r.DamageCount == 0 }

// Check verifies everything in a store that is not open: every record and body
// of the log, every chunk that a blob owns, the index against the log in both
// directions, and the counters. It changes nothing. What the log has past the
// index's watermark counts as the next start would replay it. An error means
// that the check could not be made; damage is in the report.
//
// It holds 32 bytes a key and the room to grow, about 70 in all.
func Check(ctx context.Context, o Options, co CheckOptions) (_ CheckReport, err error) {
	start := time.Now()
	c, err := openChecker(ctx, o, co)
	if err != nil {
		return CheckReport{}, fmt.Errorf("check: %w", err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.run(); err != nil {
		return CheckReport{}, fmt.Errorf("check: %w", err)
	}
	c.report.Duration = time.Since(start)
	return c.report, nil
}

// A checker reads a store that nobody has open.
type checker struct {
	ctx  context.Context
	opt  CheckOptions
	s    *Store // not running: no committer, no applier
	list []*segment
	at   map[uint64]int // ordinal to place in list

	seed   maphash.Seed
	keys   keyTable
	bad    map[recordRef]bool // groups that could not be read; their length is 0
	named  map[int]bool       // segments with records that name places elsewhere
	index  bool               // the index can be read
	mark   watermark
	report CheckReport
	buf    []byte
	from   sweep // over the segment that is checked

	odd        []oddHeader
	skipBodies bool // of the log
	freeFiles  int
	freeBytes  int64

	done  int64 // of the phase
	total int64
}

func openChecker(ctx context.Context, o Options, co CheckOptions) (_ *checker, err error) {
	o.FS = readOnly{o.FS}
	fsys := o.FS
	o.IndexFS = func() vfs.FS { return pebblevfs.New(fsys, "") }
	o.Logger = slog.New(slog.DiscardHandler) // what it would say is in the report
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	co.MaxDamage = cmp.Or(co.MaxDamage, 100)
	if co.Progress == nil {
		co.Progress = func(Progress) {}
	}
	if _, err := o.FS.Stat(identityFile); errors.Is(err, fs.ErrNotExist) {
		return nil, missingIdentity(o.FS)
	} else if err != nil {
		return nil, err
	}
	lock, err := lockBoth(o.FS)
	if err != nil {
		return nil, err
	}
	s := &Store{opt: o, logger: o.Logger, lock: lock, leaving: make(chan struct{}), closing: make(chan struct{}), indexErr: make(chan error, 1)}
	s.segs = newSegments(o.FS, s.id, o.SegmentSize, o.BulkSegmentSize)
	s.log.init(s)
	s.applier = newApplier(s)
	return &checker{
		ctx: ctx, opt: co, s: s, at: map[uint64]int{}, seed: maphash.MakeSeed(),
		bad: map[recordRef]bool{}, named: map[int]bool{}, report: CheckReport{Damage: []Damage{}},
	}, nil
}

func (c *checker) close() error {
	var err error
	if c.s.db != nil {
		err = c.s.db.Close()
	}
	return errors.Join(err, c.s.segs.close(), c.s.lock.Close())
}

func (c *checker) run() error {
	if err := c.s.identify(); errors.Is(err, backend.ErrCorrupt) {
		c.damage(Damage{What: "identity", File: identityFile, Detail: "checksum mismatch; nothing else can be checked without it"})
		return nil
	} else if err != nil {
		return err
	}
	if c.s.halfID {
		c.damage(Damage{What: "identity", File: identityFile, Detail: "one of the two copies fails its checksum; the next start of a server writes it anew"})
	}
	c.s.segs.storeID = c.s.id
	c.report.StoreID = c.s.ID()
	if err := c.loadSegments(); err != nil {
		return err
	}
	c.checkEpoch()
	c.openIndex()
	c.checkHeaders()
	for _, phase := range []func() error{c.checkLog, c.checkIndex, c.checkPlaces} {
		if err := phase(); err != nil {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	c.keys.all(func(k *keySlot) {
		if k.place&slotDelete == 0 {
			c.report.Keys++
		}
		if k.place&slotPending != 0 {
			c.report.Pending++
		}
	})
	return nil
}

func (c *checker) hash(key []byte) uint64 { return maphash.Bytes(c.seed, key) }

func (c *checker) damage(d Damage) {
	c.report.DamageCount++
	if len(c.report.Damage) < c.opt.MaxDamage {
		c.report.Damage = append(c.report.Damage, d)
	}
}

func (c *checker) damageAt(what string, g *segment, off int64, key []byte, detail string) {
	d := Damage{What: what, File: g.name, Segment: g.ordinal, Offset: off, Detail: detail}
	if key != nil {
		d.Key = fmt.Sprintf("%q", key)
	}
	c.damage(d)
}

func (c *checker) note(format string, a ...any) {
	c.report.Notes = append(c.report.Notes, fmt.Sprintf(format, a...))
}

func (c *checker) phase(name, unit string, total int64) {
	c.done, c.total = 0, total
	c.advance(name, unit, 0)
}

func (c *checker) advance(name, unit string, n int64) {
	c.done += n
	c.opt.Progress(Progress{Phase: name, Unit: unit, Done: min(c.done, max(c.total, c.done)), Total: c.total})
}

// loadSegments is segments.load without its cleaning up.
func (c *checker) loadSegments() error {
	t := c.s.segs
	for class, dir := range segmentDirs {
		names, err := t.fs.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, base := range names {
			if err := c.loadFile(class, path.Join(dir, base)); err != nil {
				return err
			}
		}
	}
	c.list = t.all()
	for i, g := range c.list {
		c.at[g.ordinal] = i
		if g.kind == bulkSegment {
			c.report.BulkSegments++
		} else {
			c.report.LogSegments++
		}
	}
	return nil
}

func (c *checker) loadFile(fileClass int, name string) error {
	t := c.s.segs
	if _, ours := segmentNumber(name); !ours {
		return nil
	}
	f, err := t.fs.Open(name)
	if err != nil {
		return fmt.Errorf("check segment: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(fmt.Errorf("check segment %s: %w", name, err), f.Close())
	}
	b := make([]byte, min(blockSize, size))
	if _, err := f.ReadAt(b, 0); err != nil {
		c.damage(Damage{What: "header", File: name, Detail: err.Error()})
		return f.Close()
	}
	h, half, err := decodeHeaderBlock(b)
	switch {
	case errors.Is(err, ErrVersion):
		return errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	case err != nil:
		// A crash may cut off the first header of a file's life, never a synced one.
		x := suspect{name: name, class: fileClass, size: size}
		if x.life, err = findLife(f, size); err != nil {
			c.damage(Damage{What: "header", File: name, Detail: err.Error()})
		} else if x.life.found {
			t.suspects = append(t.suspects, x)
			c.note("%s has no valid header: power failed when its life began, or it is one of the segments missing", name)
		}
		return f.Close()
	case h.storeID != t.storeID:
		c.damage(Damage{What: "header", File: name, Segment: h.ordinal, Detail: "segment of another store"})
		return f.Close()
	case h.kind == freeSegment:
		c.freeFiles++
		c.freeBytes += size
		return f.Close()
	}
	g := &segment{ordinal: h.ordinal, kind: h.kind, prev: h.prev, mark: h.mark, size: size, name: name, file: f}
	g.mu.used, g.mu.sealed = blockSize, true
	if half {
		why := halfBegun
		if tornRetirement(b, &h) {
			why = halfEnded
		}
		c.odd = append(c.odd, oddHeader{g, "one of the two copies fails its checksum", why})
	}
	if h.size != size {
		why := halfBegun
		if size < h.size {
			why = cutOff
		}
		c.odd = append(c.odd, oddHeader{g, fmt.Sprintf("file has %d bytes, its header says %d", size, h.size), why})
	}
	if class(h.kind) != fileClass {
		c.damageAt("header", g, 0, nil, fmt.Sprintf("a %v segment in the wrong directory", h.kind))
	}
	if old := t.mu.live[g.ordinal]; old != nil {
		c.damageAt("header", g, 0, nil, "same ordinal as "+old.name)
		return f.Close()
	}
	t.mu.live[g.ordinal] = g
	t.mu.ordinal = max(t.mu.ordinal, g.ordinal)
	return nil
}

// An oddHeader is damaged, or was never synced: the index can tell.
type oddHeader struct {
	g      *segment
	detail string
	why    oddity
}

// An oddity is what may have made an odd header.
type oddity uint8

const (
	halfBegun oddity = iota // a crash at the beginning of its life
	halfEnded               // or at the end
	cutOff                  // no crash: a file's size is durable before its life begins
)

// tornRetirement reports whether a header's block, of which one copy is h, is what
// is left where power failed in writing that the life is over: that header up to
// some byte, and h behind it.
func tornRetirement(block []byte, h *segmentHeader) bool {
	after, before := freeHeader(h.storeID, h.ordinal, h.size).encode()[:headerSize], h.encode()[:headerSize]
	n := 0
	for n < headerSize && block[n] == after[n] {
		n++
	}
	return bytes.Equal(block[n:headerSize], before[n:])
}

func (c *checker) checkHeaders() {
	for _, o := range c.odd {
		_, err := readTable(o.g)
		switch {
		case o.why == halfEnded && c.index && o.g.mu.live == 0:
			c.note("%s: power failed when its life ended; the next start makes its header whole", o.g.name)
		case o.why == cutOff || err == nil || o.g.mu.live > 0 || c.synced(o.g) > blockSize:
			c.damageAt("header", o.g, 0, nil, o.detail)
		default:
			c.note("%s: power failed when its life began: %s", o.g.name, o.detail)
		}
	}
}

func (c *checker) checkEpoch() {
	e, err := readEpoch(c.s.opt.FS)
	c.s.segs.mu.round = e.round
	switch {
	case err != nil:
		c.damage(Damage{What: "epoch", File: epochFile, Detail: err.Error()})
	case e.ordinal < c.s.segs.mu.ordinal:
		c.damage(Damage{What: "epoch", File: epochFile, Detail: fmt.Sprintf("segment %d exists, only %d were reserved", c.s.segs.mu.ordinal, e.ordinal)})
	}
}
