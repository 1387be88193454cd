package store

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// getBlob looks a blob's extents up.
func (s *Store) getBlob(id backend.BlobID) (blob, error) {
	e, found, err := s.Get(blobKey(id), nil)
	if err != nil {
		return blob{}, err
	}
	if !found {
		return blob{}, backend.ErrMoved
	}
	return decodeBlob(e.Value)
}

// OpenBlob streams n bytes of a blob from off. It holds the blob's segments
// until Close, so that a blob dropped meanwhile is read to its end.
func (s *Store) OpenBlob(id backend.BlobID, off, n int64) (backend.Body, error) {
	for try := 0; ; try++ {
		b, err := s.getBlob(id)
		if err != nil {
			return nil, err
		}
		if off < 0 || n < 0 || off+n > b.size {
			return nil, fmt.Errorf("read blob: range %d+%d of %d bytes", off, n, b.size)
		}
		r := &blobReader{s: s, id: id, size: b.size, off: off, end: off + n, w: windows.Get().(*window)}
		if r.hold(b) {
			return r, nil
		}
		_ = r.Close()
		if try == 100 {
			return nil, backend.ErrMoved
		}
	}
}

// blobReader reads chunk by chunk from the drive, each block verified before it
// is given out, or page by page from the cache.
type blobReader struct {
	s        *Store
	id       backend.BlobID
	size     int64 // of the blob
	off, end int64 // of what is still to be made ready
	pieces   []piece
	held     []*segment
	buf      *disk.Buffer // has room for a chunk, or for a page of one
	w        *window
}

// piece is an extent within the range read, with its segment and its place in the blob.
type piece struct {
	extent
	seg   *segment
	start int64
	once  bool // for compaction or a check: past the page cache
}

// readAt reads n bytes into buf, whose address is aligned and which has room for
// whole blocks.
func (p *piece) readAt(buf []byte, n, at int64) error {
	if !p.once {
		_, err := p.seg.file.ReadAt(buf[:n], at)
		return err
	}
	got, err := disk.ReadDirect(p.seg.file, buf[:roundUp(n)], at)
	if err == io.EOF && int64(got) >= n {
		err = nil
	}
	return err
}

// chunkAt is where a chunk of the blob begins in the piece's segment.
func (p *piece) chunkAt(index int64) int64 {
	return int64(p.offset) + (index*chunkData-p.start)/chunkData*chunkSpan
}

func (r *blobReader) hold(b blob) bool {
	var at int64
	for _, x := range b.extents {
		if at < r.end && at+x.length > r.off {
			g, err := r.s.segs.pin(x.segment)
			if err != nil {
				return false
			}
			r.held = append(r.held, g)
			r.pieces = append(r.pieces, piece{extent: x, seg: g, start: at})
		}
		at += x.length
	}
	return true
}

// piece returns the one that has the byte at off, which is in the range read or
// in a page of it.
func (r *blobReader) piece(off int64) piece {
	for len(r.pieces) > 1 && off >= r.pieces[0].start+r.pieces[0].length {
		r.pieces = r.pieces[1:]
	}
	return r.pieces[0]
}

// buffer has room for the header of a chunk and what is read of it at once, span bytes: all,
// or a page where readers and uploads hold half of what is meant for them already. A client
// that takes its answer slowly holds for as long what that was read into.
func (r *blobReader) buffer() []byte {
	if r.wide() {
		return r.buf.Bytes
	}
	most := r.s.opt.TransferBytes / 2
	if r.s.transfers.Add(chunkSpan) <= most || most == 0 {
		r.giveBuffer()
		r.buf = chunkBuffers.Get().(*disk.Buffer)
		return r.buf.Bytes
	}
	r.s.transfers.Add(-chunkSpan)
	if r.buf == nil {
		r.buf = pageBuffers.Get().(*disk.Buffer)
	}
	return r.buf.Bytes
}

// pageBuffers have *disk.Buffer for a chunk's header and a page.
var pageBuffers = sync.Pool{New: func() any { return disk.NewBuffer(blockSize + pageSize) }}

// wide reports whether the reader has a chunk's buffer, which alone is counted.
func (r *blobReader) wide() bool { return r.buf != nil && len(r.buf.Bytes) == chunkSpan }

func (r *blobReader) span() int64 { return int64(len(r.buf.Bytes)) - blockSize }

func (r *blobReader) giveBuffer() {
	switch {
	case r.wide():
		chunkBuffers.Put(r.buf)
		r.s.transfers.Add(-chunkSpan)
	case r.buf != nil:
		pageBuffers.Put(r.buf)
	}
	r.buf = nil
}

// load lets go of what was ready and makes ready what comes next: pages from the
// cache, at most so many, or else what the drive has up to the end of a chunk.
func (r *blobReader) load(pages int) error {
	r.letGo()
	if r.off >= r.end {
		return io.EOF
	}
	if !r.s.inside.enter() {
		return ErrClosed
	}
	defer r.s.inside.leave()
	if r.fromMemory(pages) {
		return nil
	}
	return r.fromDrive()
}

// letGo gives back what is ready.
func (r *blobReader) letGo() { r.s.pages.empty(r.w) }

// readChunk reads from off to the end of its chunk, or to end, into buf.
func readChunk(s *Store, p piece, id backend.BlobID, off, end int64, buf []byte) ([]byte, error) {
	data, start, err := readBlocks(s, p, id, off, end, buf)
	if err != nil {
		return nil, err
	}
	return data[off-start : min(int64(len(data)), end-start)], nil
}

// readBlocks reads the blocks that have what is from off to the end of its chunk,
// or to end, into buf, and verifies them. The first begins at start of the blob.
func readBlocks(s *Store, p piece, id backend.BlobID, off, end int64, buf []byte) (data []byte, start int64, err error) {
	data, start, flaw := p.read(id, off, end, buf)
	switch {
	case flaw == nil:
		return data, start, nil
	case flaw.err != nil:
		return nil, 0, s.readFailed(p.seg, flaw.at, flaw.err)
	}
	return nil, 0, s.quarantine(p.seg, flaw.at, flaw.what)
}

// A flaw is why blocks can't be had: they can't be read, or are not what they should be.
type flaw struct {
	at   int64 // in the segment
	err  error
	what string
}

// read is readBlocks, without telling anybody what it finds wrong.
func (p *piece) read(id backend.BlobID, off, end int64, buf []byte) (data []byte, start int64, bad *flaw) {
	index := off / chunkData
	within := off - index*chunkData // in the chunk
	at := p.chunkAt(index)
	length := min(chunkData, p.length-(index*chunkData-p.start))
	first := within / crcBlock * crcBlock
	last := min(min(end-index*chunkData, length)+crcBlock-1, chunkData) / crcBlock * crcBlock
	last = min(max(last, first+crcBlock), length)

	if first == 0 {
		if err := p.readAt(buf, blockSize+last, at); err != nil {
			return nil, 0, &flaw{at: at, err: err}
		}
	} else {
		if _, err := p.seg.file.ReadAt(buf[:blockSize], at); err != nil {
			return nil, 0, &flaw{at: at, err: err}
		}
		if _, err := p.seg.file.ReadAt(buf[blockSize:blockSize+last-first], at+blockSize+first); err != nil {
			return nil, 0, &flaw{at: at, err: err}
		}
	}
	h, err := decodeChunkHeader(buf[:blockSize])
	if err != nil || h.id != id || h.ordinal != p.segment || int64(h.index) != index || int64(h.length) != length {
		return nil, 0, &flaw{at: at, what: "chunk header"}
	}
	data = buf[blockSize : blockSize+last-first]
	for b := first; b < last; b += crcBlock {
		n := b / crcBlock
		if blockCRC(id, uint64(index)*chunkBlocks+uint64(n), data[b-first:min(b+crcBlock, last)-first]) != h.crcs[n] {
			return nil, 0, &flaw{at: at + blockSize + b, what: "blob block"}
		}
	}
	return data, index*chunkData + first, nil
}

func (r *blobReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.w == nil {
		return 0, io.EOF
	}
	if len(r.w.pieces) == 0 {
		if err := r.load(1); err != nil {
			return 0, err
		}
	}
	first := &r.w.pieces[0]
	n := copy(p, *first)
	*first = (*first)[n:]
	if len(*first) == 0 {
		if r.w.pieces = slices.Delete(r.w.pieces, 0, 1); len(r.w.pieces) == 0 {
			r.letGo()
		}
	}
	return n, nil
}

// A vectorWriter takes several pieces at once. It borrows them until it returns.
type vectorWriter interface {
	WriteVector(pieces [][]byte) (int64, error)
}

// WriteTo hands over what is ready in one vector where w takes those.
func (r *blobReader) WriteTo(w io.Writer) (sum int64, err error) {
	if r.w == nil {
		return 0, nil
	}
	for {
		if len(r.w.pieces) == 0 {
			if err := r.load(windowPages); errors.Is(err, io.EOF) {
				return sum, nil
			} else if err != nil {
				return sum, err
			}
		}
		n, err := writePieces(w, r.w.pieces)
		if sum += n; err != nil {
			return sum, err
		}
		r.letGo()
	}
}

func writePieces(w io.Writer, pieces [][]byte) (sum int64, err error) {
	if v, ok := w.(vectorWriter); ok && len(pieces) > 1 {
		return v.WriteVector(pieces)
	}
	for _, p := range pieces {
		n, err := w.Write(p)
		if sum += int64(n); err != nil {
			return sum, err
		}
	}
	return sum, nil
}

func (r *blobReader) Close() error {
	for _, g := range r.held {
		r.s.segs.unpin(g)
	}
	r.held, r.pieces = nil, nil
	r.off = r.end
	if r.w != nil {
		r.letGo()
		windows.Put(r.w)
		r.w = nil
	}
	r.giveBuffer()
	return nil
}
