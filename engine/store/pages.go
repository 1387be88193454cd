package store

import (
	"context"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
)

// pages keeps parts of large blobs in the cache, under the blob's ID and the
// page's number, and lets readers send them as they lie there.
//
//	read once  -> noted, nothing is kept
//	read again -> verified, then kept
//	predicted  -> verified, then kept, before it is read at all
//	from then  -> views, gathered into one vector for the socket
//
// A blob's ID is never given out twice and its bytes never change, so that a page
// is right for ever: a delete, an overwrite and compaction have nothing to make
// invalid. Who reads has found the blob's entry in the index first, and nobody
// asks for a page of a blob that has none. Pages of a freed blob are read no more,
// and leave the cache in the order of its queues, as all that is read no more.
//
// What readers hold of the cache is bounded: see lent.
type pages struct {
	cache *cache.Cache
	lent  *lent
	// seen has the pages read of late, by a part of their hash each, newcomers in
	// the place of older ones: a scan of more than it has room for is forgotten
	// before it comes round again.
	seen prints
	// ahead has the pages that were brought in for a read that was foreseen.
	ahead prints
	stats struct {
		hits, fills atomic.Int64
	}
}

const (
	pageSize   = 128 << 10 // whole blocks, for what is kept has been verified
	pageBlocks = pageSize / crcBlock
	chunkPages = chunkData / pageSize
	pageKeyLen = 1 + 16 + 4
	// pageItem is more than a page takes in the cache.
	pageItem = pageSize + pageKeyLen + 64
	// windowPages is up to how many pages are gathered into one vector.
	windowPages = 16
	// notesPerPage is how many reads are remembered for each page that there is room for.
	notesPerPage = 4
)

// newPages returns nil where there is no cache, or one that is too small.
func newPages(c *cache.Cache, l *lent) *pages {
	if c == nil || c.MaxItem() < pageItem {
		return nil
	}
	mapped := c.Stats().MappedBytes
	p := &pages{cache: c, lent: l}
	p.seen = newPrints(mapped / pageSize * notesPerPage)
	p.ahead = newPrints(mapped / pageSize)
	return p
}

func pageKey(id backend.BlobID, page int64) (k [pageKeyLen]byte) {
	k[0] = metaPrefix // apart from the keys of the index, and by its length from those of small bodies
	binary.BigEndian.PutUint64(k[1:], id.Group)
	binary.BigEndian.PutUint64(k[9:], id.Part)
	binary.BigEndian.PutUint32(k[17:], uint32(page))
	return k
}

// prints remember places in blobs by a part of their hash each, a newcomer in the
// stead of an older one.
type prints []atomic.Uint32

func newPrints(n int64) prints { return make(prints, 1<<bits.Len64(uint64(n))) }

// of returns where the print of a place is kept, and the print.
func (t prints) of(id backend.BlobID, off int64) (*atomic.Uint32, uint32) {
	h := id.Group
	for _, x := range [...]uint64{id.Part, uint64(off)} {
		h = (h ^ h>>32) * 0x9e3779b97f4a7c15
		h ^= x
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return &t[h&uint64(len(t)-1)], uint32(h>>32) | 1
}

// note remembers a read that enters a page at off of its blob, and reports
// whether the same was done before. A client that takes a blob in ranges smaller
// than a page enters each page several times, each time elsewhere: that is one
// read of all, and not a second one of each page.
func (p *pages) note(id backend.BlobID, off int64) bool {
	at, print := p.seen.of(id, off)
	return at.Swap(print) == print
}

// met is told of a read of a page from memory. One that was brought in for a read
// that was foreseen is as new after that, or pages that nobody reads again would
// fill the part of the cache for those that are. last: the page's end was read.
func (p *pages) met(id backend.BlobID, page int64, last bool) {
	at, print := p.ahead.of(id, page*pageSize)
	if at.Load() != print {
		return
	}
	k := pageKey(id, page)
	p.cache.Unread(k[:])
	if last {
		at.CompareAndSwap(print, 0)
	}
}

func (p *pages) get(id backend.BlobID, page int64) (cache.View, bool) {
	k := pageKey(id, page)
	return p.cache.Get(k[:])
}

func (p *pages) has(id backend.BlobID, page int64) bool {
	v, ok := p.get(id, page)
	v.Release()
	return ok
}

func (p *pages) keep(id backend.BlobID, page int64, data []byte) (kept bool) {
	k := pageKey(id, page)
	if kept = p.cache.Add(k[:], data); kept { // it never changes, and makes nothing else old
		p.stats.fills.Add(1)
	}
	return kept
}

func (p *pages) drop(id backend.BlobID, page int64) {
	k := pageKey(id, page)
	p.cache.Invalidate(k[:])
}

// A window is what a reader of a blob has ready: verified, not yet given out.
type window struct {
	pieces [][]byte
	views  []cache.View // that the pieces are of; else they lie in the reader's buffer
	slots  int64        // that are lent
}

var windows = sync.Pool{New: func() any {
	return &window{pieces: make([][]byte, 0, windowPages), views: make([]cache.View, 0, windowPages)}
}}

// add takes a view into the window, unless readers hold as much as they may. A
// view that lies in the same segment as the one before holds nothing more.
func (p *pages) add(w *window, v cache.View) bool {
	if n := len(w.views); n == 0 || !v.Beside(w.views[n-1]) {
		if !p.lent.take() {
			return false
		}
		w.slots++
	}
	w.views = append(w.views, v)
	return true
}

// empty gives back what the window holds.
func (p *pages) empty(w *window) {
	for _, v := range w.views {
		v.Release()
	}
	clear(w.views)
	clear(w.pieces)
	w.views, w.pieces = w.views[:0], w.pieces[:0]
	if w.slots > 0 {
		p.lent.give(w.slots)
		w.slots = 0
	}
}

// page returns a page as the cache has it. One in sampleBodies is verified again.
func (r *blobReader) page(n int64) (cache.View, bool) {
	p := r.s.pages
	v, ok := p.get(r.id, n)
	if !ok {
		return v, false
	}
	if int64(v.Len()) == min(pageSize, r.size-n*pageSize) && (r.s.bodies.Add(1)%sampleBodies != 0 || r.sound(n, v.Value())) {
		p.stats.hits.Add(1)
		return v, true
	}
	v.Release()
	p.drop(r.id, n)
	return cache.View{}, false
}

// sound verifies a page against the checksums that its chunk's header has on the
// drive. Where these can't be had the page counts as bad: the drive is then read,
// and says what is wrong.
func (r *blobReader) sound(n int64, data []byte) bool {
	x := r.piece(n * pageSize)
	at := x.chunkAt(n / chunkPages)
	head := make([]byte, blockSize)
	if _, err := x.seg.file.ReadAt(head, at); err != nil {
		return false
	}
	h, err := decodeChunkHeader(head)
	if err != nil || h.id != r.id || int64(h.index) != n/chunkPages {
		return false
	}
	for b := int64(0); b*crcBlock < int64(len(data)); b++ {
		block := n*pageBlocks + b
		if blockCRC(r.id, uint64(block), data[b*crcBlock:min((b+1)*crcBlock, int64(len(data)))]) != h.crcs[block%chunkBlocks] {
			r.s.stats.memoryErrors.Add(1)
			r.s.logger.Error("a page in memory is not what it was; reading it from the drive", "segment", x.segment, "offset", at, "page", n)
			return false
		}
	}
	return true
}

// fromMemory makes ready the next pages that the cache has, at most so many, and
// reports whether there was one.
func (r *blobReader) fromMemory(most int) bool {
	p := r.s.pages
	if p == nil {
		return false
	}
	for r.off < r.end && len(r.w.pieces) < most {
		n := r.off / pageSize
		v, ok := r.page(n)
		if !ok {
			break
		}
		if !p.add(r.w, v) {
			v.Release()
			if len(r.w.pieces) == 0 {
				return r.copied(most)
			}
			break
		}
		r.w.pieces = append(r.w.pieces, r.take(v.Value()))
		p.met(r.id, n, r.off == n*pageSize+int64(v.Len()))
	}
	return len(r.w.pieces) > 0
}

// copied is fromMemory into the reader's own buffer.
func (r *blobReader) copied(most int) bool {
	buf := r.buffer()
	n := 0
	for i := 0; i < min(most, len(buf)/pageSize) && r.off < r.end; i++ {
		at := r.off / pageSize
		v, ok := r.page(at)
		if !ok {
			break
		}
		n += copy(buf[n:], r.take(v.Value()))
		r.s.pages.met(r.id, at, r.off == at*pageSize+int64(v.Len()))
		v.Release()
		r.s.lent.copies.Add(1)
	}
	if n > 0 {
		r.w.pieces = append(r.w.pieces, buf[:n])
	}
	return n > 0
}

// take moves on over what the reader wants of the page that it stands in.
func (r *blobReader) take(page []byte) []byte {
	within := r.off % pageSize
	end := min(int64(len(page)), within+r.end-r.off)
	data := page[within:end:end] // nobody may append to a page
	r.off += int64(len(data))
	return data
}

// Ahead has the cache keep the pages of what would be read, read before or not, and
// returns how many bytes were brought in. There is nothing to read after it.
func (r *blobReader) Ahead(ctx context.Context) (sum int64, err error) {
	p := r.s.pages
	if p == nil || r.w == nil {
		return 0, nil
	}
	if !r.s.inside.enter() {
		return 0, ErrClosed
	}
	defer r.s.inside.leave()
	r.letGo()
	for r.off < r.end {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		first := r.off / pageSize
		if p.has(r.id, first) {
			r.off = (first + 1) * pageSize
			continue
		}
		buf := r.buffer()
		past := min((r.end+pageSize-1)/pageSize, (r.off/r.span()+1)*r.span()/pageSize)
		data, _, err := readBlocks(r.s, r.piece(r.off), r.id, first*pageSize, min(past*pageSize, r.size), buf)
		if err != nil {
			return sum, err
		}
		for n := first; n < past; n++ {
			page := data[:min(len(data), pageSize)]
			if data = data[len(page):]; !p.keep(r.id, n, page) {
				return sum, nil // the cache has no room for more of this
			}
			at, print := p.ahead.of(r.id, n*pageSize)
			at.Store(print)
			sum += int64(len(page))
		}
		r.off = past * pageSize
	}
	return sum, nil
}

// A run is what is read from the drive at once: from off, up to end, within a chunk.
type run struct {
	off, end int64
	keep     uint32 // pages of the chunk that are then kept
}

// plan decides what to read from the drive: up to the next multiple of span, or to a
// page that the cache has. A page that is to be kept is read whole.
func (r *blobReader) plan(span int64) run {
	x := run{off: r.off, end: min(r.end, (r.off/span+1)*span)}
	p := r.s.pages
	if p == nil {
		return x
	}
	for n := r.off / pageSize; n*pageSize < x.end; n++ {
		start := n * pageSize
		if start > r.off && p.has(r.id, n) {
			x.end = start
			break
		}
		if p.note(r.id, max(start, r.off)) {
			x.keep |= 1 << (n % chunkPages)
			x.off = min(x.off, start)
			x.end = max(x.end, min(start+pageSize, r.size))
		}
	}
	return x
}

// fromDrive makes ready what comes next, verified, and keeps of it what was read before.
func (r *blobReader) fromDrive() error {
	buf := r.buffer()
	x := r.plan(r.span())
	data, start, err := readBlocks(r.s, r.piece(r.off), r.id, x.off, x.end, buf)
	if err != nil && x.keep != 0 {
		// What was not asked for may be what is damaged.
		x = run{off: r.off, end: min(r.end, x.end)}
		data, start, err = readBlocks(r.s, r.piece(r.off), r.id, x.off, x.end, buf)
	}
	if err != nil {
		return err
	}
	for ; x.keep != 0; x.keep &= x.keep - 1 {
		n := r.off/chunkData*chunkPages + int64(bits.TrailingZeros32(x.keep))
		page := data[n*pageSize-start:]
		r.s.pages.keep(r.id, n, page[:min(len(page), pageSize)])
	}
	ready := data[r.off-start : min(int64(len(data)), r.end-start)]
	r.off += int64(len(ready))
	r.w.pieces = append(r.w.pieces, ready)
	return nil
}
