package disk

import "slices"

const (
	pageSize   = 4096
	chunkPages = 256
	chunkSize  = pageSize * chunkPages
)

// An image is a file's contents in memory: sparse pages under a two-level
// table, copied on write. What was never written takes no memory, so that a
// preallocated segment costs nothing, and two images share every page that
// neither has changed since they were one.
//
// Pages, chunks and the table may be changed by the one image whose owner they
// carry; share takes ownership from both sides. One goroutine may change an
// image at a time; shared pages are never changed, so reads of other images
// need no lock.
type image struct {
	size   int64
	owner  *owner // nil: nothing here may be changed in place
	chunks []*chunk
}

type owner struct{ _ byte } // not empty: two must differ in address

type chunk struct {
	owner *owner
	pages [chunkPages]*page
}

type page struct {
	owner *owner
	data  [pageSize]byte
}

// share returns a second image of the same contents.
func (im *image) share() image {
	im.owner = nil
	return *im
}

func (im *image) own() {
	if im.owner == nil {
		im.owner = new(owner)
		im.chunks = slices.Clone(im.chunks)
	}
}

// read fills b from off and returns how many bytes lie before the end.
func (im *image) read(b []byte, off int64) int {
	if off >= im.size {
		return 0
	}
	b = b[:min(int64(len(b)), im.size-off)]
	for rest := b; len(rest) > 0; {
		at := int(off % pageSize)
		part := rest[:min(len(rest), pageSize-at)]
		if p := im.page(off); p != nil {
			copy(part, p.data[at:])
		} else {
			clear(part)
		}
		rest, off = rest[len(part):], off+int64(len(part))
	}
	return len(b)
}

func (im *image) page(off int64) *page {
	if i := off / chunkSize; i < int64(len(im.chunks)) && im.chunks[i] != nil {
		return im.chunks[i].pages[off%chunkSize/pageSize]
	}
	return nil
}

// write puts b at off and grows the image where b ends behind it.
func (im *image) write(b []byte, off int64) {
	if len(b) == 0 {
		return
	}
	im.own()
	im.size = max(im.size, off+int64(len(b)))
	for len(b) > 0 {
		at := int(off % pageSize)
		part := b[:min(len(b), pageSize-at)]
		copy(im.writable(off, len(part) < pageSize).data[at:], part)
		b, off = b[len(part):], off+int64(len(part))
	}
}

// writable returns the page at off for changing it; what it held is kept only
// if asked for.
func (im *image) writable(off int64, keep bool) *page {
	i := int(off / chunkSize)
	if i >= len(im.chunks) {
		im.chunks = append(im.chunks, make([]*chunk, i+1-len(im.chunks))...)
	}
	c := im.chunks[i]
	if c == nil {
		c = &chunk{owner: im.owner}
		im.chunks[i] = c
	} else if c.owner != im.owner {
		c = &chunk{owner: im.owner, pages: c.pages}
		im.chunks[i] = c
	}
	slot := &c.pages[off%chunkSize/pageSize]
	if old := *slot; old == nil || old.owner != im.owner {
		*slot = &page{owner: im.owner}
		if keep && old != nil {
			(*slot).data = old.data
		}
	}
	return *slot
}

// resize cuts the image off or extends it by zeros. What is cut off is dropped
// at once, so that it cannot come back when the image grows again.
func (im *image) resize(size int64) {
	if size < im.size {
		im.own()
		if full := (size + chunkSize - 1) / chunkSize; full < int64(len(im.chunks)) {
			clear(im.chunks[full:])
			im.chunks = im.chunks[:full]
		}
		im.dropPages(size)
	}
	im.size = size
}

// dropPages forgets what the chunk that holds the new end has behind it.
func (im *image) dropPages(size int64) {
	i := int(size / chunkSize)
	if i >= len(im.chunks) || im.chunks[i] == nil {
		return
	}
	if im.chunks[i].owner != im.owner {
		im.chunks[i] = &chunk{owner: im.owner, pages: im.chunks[i].pages}
	}
	first := int((size%chunkSize + pageSize - 1) / pageSize)
	clear(im.chunks[i].pages[first:])
	if at := size % pageSize; at != 0 && im.page(size) != nil {
		clear(im.writable(size, true).data[at:])
	}
}
