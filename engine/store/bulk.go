package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// bulk takes the bodies too large for the log. Its lanes each append to a
// segment of their own, so that one long upload's dirty pages are not in the
// sync of every short one.
type bulk struct {
	s     *Store
	lanes []*lane
	pick  sync.Mutex
	files sync.Mutex  // held while the room for a file is looked for and taken
	full  atomic.Bool // it was told that there is no room
}

// A lane is an open bulk segment. Space is given out under mu; the writing
// itself goes on beside it.
type lane struct {
	mu    sync.Mutex
	seg   *segment
	off   int64
	users int // under bulk.pick
}

func newBulk(s *Store) *bulk {
	b := &bulk{s: s}
	for range bulkLanes {
		b.lanes = append(b.lanes, &lane{})
	}
	return b
}

const (
	bulkLanes = 4
	runChunks = 8 // chunks given to an upload of known size at a time
)

// resume lets lanes go on in segments that were not full at the last close.
// What lies past the last adopted extent belongs to nobody.
func (b *bulk) resume() {
	n := 0
	for _, g := range b.s.segs.all() {
		if n == len(b.lanes) {
			break
		}
		if g.kind == bulkSegment && b.lanes[n].resume(g) {
			n++
		}
	}
}

func (l *lane) resume(g *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.used >= g.size*3/4 {
		return false
	}
	g.mu.sealed = false
	l.seg, l.off = g, max(g.mu.used, blockSize)
	return true
}

func (b *bulk) choose() *lane {
	b.pick.Lock()
	defer b.pick.Unlock()
	best := b.lanes[0]
	for _, l := range b.lanes[1:] {
		if l.users < best.users {
			best = l
		}
	}
	best.users++
	return best
}

func (b *bulk) leave(l *lane) {
	b.pick.Lock()
	l.users--
	b.pick.Unlock()
}

// reserve gives out n bytes, or at least some of them, in one piece, in a segment held for the
// blob. If that is moved, moved is how large a file it needs on a full drive, else 0.
func (b *bulk) reserve(l *lane, n, least int64, held map[uint64]*segment, moved int64) (r stretch, err error) {
	for _, n := range []int64{n, least} {
		var made bool
		if r, made, err = b.reserveIn(l, n, held, moved); !isFull(err) && !errors.Is(err, backend.ErrFull) {
			if made && moved == 0 && b.full.Swap(false) {
				b.s.logger.Info("there is room for large bodies again")
			}
			return r, err
		}
		// No room for a file of its own: the others' may have some left.
		for _, o := range b.lanes {
			o.mu.Lock()
			r, ok := o.take(n, held)
			o.mu.Unlock()
			if ok {
				return r, nil
			}
		}
	}
	if moved == 0 && !b.full.Swap(true) {
		b.s.logger.Warn("drive is nearly full: large bodies are refused until space is freed")
	}
	return stretch{}, err
}

// reserveIn is reserve in one lane. made says that a file was made for it.
func (b *bulk) reserveIn(l *lane, n int64, held map[uint64]*segment, moved int64) (r stretch, made bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.take(n, held); ok {
		return r, false, nil
	}
	name, err := b.file(n, moved)
	if err != nil {
		return stretch{}, false, err
	}
	seg, err := b.s.segs.begin(name, bulkSegment, 0)
	if err != nil {
		return stretch{}, false, err
	}
	if l.seg != nil {
		l.seg.seal()
	}
	l.seg, l.off = seg, blockSize
	r, ok := l.take(n, held)
	if !ok {
		return stretch{}, true, fmt.Errorf("bulk segment %d has no room for %d bytes", seg.ordinal, n)
	}
	return r, true, nil
}

// take gives out n bytes of the lane's segment if it has them. Called with mu held.
func (l *lane) take(n int64, held map[uint64]*segment) (stretch, bool) {
	if l.seg == nil || l.off+n > l.seg.size {
		return stretch{}, false
	}
	r := stretch{l.seg, l.off, l.off + n}
	l.off += n
	r.seg.mu.Lock()
	defer r.seg.mu.Unlock()
	if held[r.seg.ordinal] == nil {
		held[r.seg.ordinal] = r.seg
		r.seg.mu.staged++
	}
	r.seg.mu.used = max(r.seg.mu.used, l.off)
	return r, true
}

// yield has lanes that nobody uses give up their segments, on a full drive, where compaction
// can make less of them: a store in which nothing large is left would keep a file for each.
func (b *bulk) yield() {
	b.pick.Lock()
	defer b.pick.Unlock()
	for _, l := range b.lanes {
		if l.users > 0 {
			continue
		}
		l.mu.Lock()
		if g := l.seg; g != nil && b.spares(g) {
			g.seal()
			l.seg = nil
		}
		l.mu.Unlock()
	}
}

// spares reports that a segment is worth being emptied, as victims has it.
func (b *bulk) spares(g *segment) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.staged == 0 && (g.mu.live == 0 || gains(b.s.coldBulkSize(g.mu.live), g.size))
}

func (b *bulk) file(n, moved int64) (name string, err error) {
	if moved > 0 {
		return b.s.movedFile(1, min(max(moved, blockSize+n), b.s.opt.BulkSegmentSize))
	}
	b.files.Lock()
	defer b.files.Unlock()
	switch size := b.s.bulkSize(blockSize + n); {
	case size < blockSize+n:
		return "", backend.ErrFull
	case size < b.s.opt.BulkSegmentSize:
		return b.s.segs.shortFile(1, size)
	}
	name, _, err = b.s.segs.takeFile(1)
	return name, err
}

// release lets go of the segments of a blob that is in the index, or is not to be.
func (b *bulk) release(extents []extent) {
	seen := map[uint64]bool{}
	for _, x := range extents {
		if seen[x.segment] {
			continue
		}
		seen[x.segment] = true
		if g := b.s.segs.get(x.segment); g != nil {
			g.mu.Lock()
			g.mu.staged--
			g.mu.Unlock()
		}
	}
}

// syncer lets callers that wait for one file's sync share the next one.
type syncer struct {
	mu                sync.Mutex
	cond              sync.Cond
	started, finished uint64
	err               error
}

// sync returns when a sync that began after the call has ended.
func (y *syncer) sync(f interface{ Sync() error }) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.cond.L == nil {
		y.cond.L = &y.mu
	}
	want := y.started + 1
	for y.finished < want {
		if y.started > y.finished {
			y.cond.Wait()
			continue
		}
		y.started++
		y.mu.Unlock()
		err := f.Sync()
		y.mu.Lock()
		y.finished++
		if err != nil {
			y.err = err
		}
		y.cond.Broadcast()
	}
	return y.err
}

// chunkBuffers have *disk.Buffer of chunkSpan bytes.
var chunkBuffers = sync.Pool{New: func() any { return disk.NewBuffer(chunkSpan) }}

// A BlobWriter brings one large body to the drive, chunk by chunk.
type BlobWriter struct {
	s     *Store
	ctx   context.Context
	id    backend.BlobID
	lane  *lane
	left  int64 // of the announced size; -1: unknown
	moved int64 // compaction's: what file it needs on a full drive, of which it may use the reserve
	blob  blob
	held  map[uint64]*segment

	buf   *disk.Buffer // header and data gathered
	fill  int          // bytes of data in it
	spare *disk.Buffer // the chunk's before, which may be read still
	lent  bool         // buf's bytes may be read still

	run  stretch // room given out and not used
	err  error
	done bool

	counted int64 // of Store.transfers
}

// A stretch is a piece of a segment that was given out.
type stretch struct {
	seg      *segment
	off, end int64
}

// writerBytes is the memory that a BlobWriter takes: two chunks, in turns.
const writerBytes = 2 * chunkSpan

// Stage begins a blob; size is -1 when unknown.
func (s *Store) Stage(ctx context.Context, id backend.BlobID, size int64) (*BlobWriter, error) {
	if s.failed.Load() {
		return nil, backend.ErrUnavailable
	}
	if s.refusing.Load() {
		return nil, backend.ErrFull
	}
	if most := s.opt.TransferBytes; s.transfers.Add(writerBytes) > most && most > 0 {
		s.transfers.Add(-writerBytes)
		return nil, backend.ErrBusy
	}
	return &BlobWriter{
		s: s, ctx: ctx, id: id, left: size, lane: s.bulk.choose(), counted: writerBytes,
		held: map[uint64]*segment{}, buf: chunkBuffers.Get().(*disk.Buffer),
	}, nil
}

// Room is where the next bytes of the chunk go. Two buffers take turns, so that
// what the caller put into one can be read while the next one is filled.
func (w *BlobWriter) Room() []byte {
	if w.fill == 0 && w.lent {
		if w.spare == nil {
			w.spare = chunkBuffers.Get().(*disk.Buffer)
		}
		w.buf, w.spare, w.lent = w.spare, w.buf, false
	}
	return w.buf.Bytes[blockSize+w.fill : blockSize+chunkData]
}

// Took adds the first n bytes of Room, and writes the chunk when it is full.
func (w *BlobWriter) Took(n int) error {
	w.lent = true
	return w.took(n)
}

func (w *BlobWriter) took(n int) error {
	if w.err != nil {
		return w.err
	}
	if w.fill += n; w.fill == chunkData {
		w.err = w.flush()
	}
	return w.err
}

// Write takes the next bytes. It borrows p until it returns.
func (w *BlobWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		k := copy(w.Room(), p)
		n += k
		p = p[k:]
		_ = w.took(k)
	}
	return n, w.err
}

// flush writes the gathered chunk.
func (w *BlobWriter) flush() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	span := blockSize + roundUp(int64(w.fill))
	if w.run.off+span > w.run.end {
		n := span
		if w.left > int64(w.fill) {
			n = min(w.left/chunkData, runChunks, (w.s.opt.BulkSegmentSize-blockSize)/chunkSpan) * chunkSpan
			n = max(n, span)
		}
		r, err := w.s.bulk.reserve(w.lane, n, span, w.held, w.moved)
		if err != nil {
			return fmt.Errorf("stage blob: %w", w.s.noFile(err))
		}
		w.run = r
	}
	b := w.buf.Bytes[:span]
	data := b[blockSize : blockSize+w.fill]
	clear(b[blockSize+w.fill:])
	h := chunkHeader{ordinal: w.run.seg.ordinal, id: w.id, index: uint32(w.blob.size / chunkData), length: uint32(w.fill)}
	for i := 0; i*crcBlock < len(data); i++ {
		h.crcs[i] = blockCRC(w.id, uint64(h.index)*chunkBlocks+uint64(i), data[i*crcBlock:min((i+1)*crcBlock, len(data))])
	}
	h.encode(b)
	if _, err := disk.WriteDirect(w.run.seg.file, b, w.run.off); err != nil {
		return w.s.noSpace(fmt.Errorf("stage blob: %w", err))
	}
	xs := w.blob.extents
	if k := len(xs) - 1; k >= 0 && xs[k].segment == w.run.seg.ordinal && xs[k].offset+uint64(xs[k].span()) == uint64(w.run.off) {
		xs[k].length += int64(w.fill)
	} else {
		w.blob.extents = append(xs, extent{w.run.seg.ordinal, uint64(w.run.off), int64(w.fill)})
	}
	w.blob.size += int64(w.fill)
	w.run.off += span
	if w.left >= 0 {
		w.left = max(0, w.left-int64(w.fill))
	}
	w.fill = 0
	return nil
}

// Finish syncs what was written. A failed sync ends the store's writing.
func (w *BlobWriter) Finish() (backend.StagedBlob, error) {
	if w.err == nil && w.fill > 0 {
		w.err = w.flush()
	}
	if w.err == nil {
		for _, x := range w.distinct() {
			if err := x.syncer.sync(x.file); err != nil {
				w.err = fmt.Errorf("sync blob: %w", err)
				w.s.fail(w.err)
				w.err = errors.Join(backend.ErrUnavailable, w.err)
				break
			}
		}
	}
	if w.err != nil {
		return nil, w.err // its memory may be read until Abort
	}
	// Segments that room was taken in and no chunk written are not in the blob.
	w.close()
	return &Staged{s: w.s, id: w.id, blob: w.blob}, nil
}

func (w *BlobWriter) distinct() []*segment {
	used := map[uint64]bool{}
	for _, x := range w.blob.extents {
		used[x.segment] = true
	}
	var out []*segment
	for o, g := range w.held {
		if used[o] {
			out = append(out, g)
			continue
		}
		g.mu.Lock()
		g.mu.staged--
		g.mu.Unlock()
		delete(w.held, o)
	}
	return out
}

func (w *BlobWriter) close() {
	w.done = true
	w.s.bulk.leave(w.lane)
	w.err = errors.New("blob is finished")
}

// Abort gives the writer's buffers back, and frees what was written unless it is finished.
func (w *BlobWriter) Abort() {
	if !w.done {
		for _, g := range w.held {
			g.mu.Lock()
			g.mu.staged--
			g.mu.Unlock()
		}
		w.close()
	}
	for _, b := range []*disk.Buffer{w.buf, w.spare} {
		if b != nil {
			chunkBuffers.Put(b)
		}
	}
	w.buf, w.spare = nil, nil
	w.s.transfers.Add(-w.counted)
	w.counted = 0
}

// Staged is a blob on the drive that no record owns yet.
type Staged struct {
	s       *Store
	id      backend.BlobID
	blob    blob
	mu      sync.Mutex
	over    bool // discarded, or its entry was applied
	adopted bool // a batch that names it was appended
}

func (t *Staged) ID() backend.BlobID { return t.id }
func (t *Staged) Size() int64        { return t.blob.size }

// Discard frees the blob unless a batch has adopted it.
func (t *Staged) Discard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.adopted {
		return
	}
	t.over = true
	t.s.bulk.release(t.blob.extents)
}

// Adopt adds the blob's entry to a batch: the blob is the property of what the
// batch writes.
func (b *Batch) Adopt(seq uint64, t *Staged) {
	b.Put(seq, &backend.Put{Key: blobKey(t.id), Value: t.blob.encode()}, true)
	b.muts[len(b.muts)-1].flags |= overlayStaged
	b.staged = append(b.staged, t)
}

// noSpace maps a full drive to the refusal that callers know, and remembers it.
func (s *Store) noSpace(err error) error {
	if isFull(err) {
		s.refusing.Store(true)
		return errors.Join(backend.ErrFull, err)
	}
	return err
}
