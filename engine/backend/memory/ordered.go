package memory

import (
	"bytes"
	"slices"
	"sort"
)

// chunkLen bounds what one insertion moves.
const chunkLen = 256

// ordered is a map in the order of its keys: a sorted list of sorted chunks.
// The caller locks.
type ordered struct {
	chunks [][]*record // none is empty
	n      int
	// What a view shares is copied before it is changed: a chunk that was last copied
	// before the newest view was taken.
	owned []uint64 // of each chunk, the views that there were then
	views uint64
}

// view is the map as it is now, for good.
func (o *ordered) view() *ordered {
	o.views++
	return &ordered{chunks: slices.Clone(o.chunks), n: o.n}
}

// own makes a chunk one that may be changed.
func (o *ordered) own(c int) {
	if o.owned[c] != o.views {
		o.chunks[c] = append(make([]*record, 0, chunkLen+1), o.chunks[c]...)
		o.owned[c] = o.views
	}
}

// find returns where the first record at or after key is, and whether it is key itself.
func (o *ordered) find(key []byte) (chunk, at int, exact bool) {
	// The last chunk whose first key is not above key.
	chunk = sort.Search(len(o.chunks), func(i int) bool { return bytes.Compare(o.chunks[i][0].key, key) > 0 }) - 1
	if chunk < 0 {
		return 0, 0, false
	}
	at, exact = slices.BinarySearchFunc(o.chunks[chunk], key, func(r *record, k []byte) int { return bytes.Compare(r.key, k) })
	if at == len(o.chunks[chunk]) {
		return chunk + 1, 0, false
	}
	return chunk, at, exact
}

func (o *ordered) get(key []byte) *record {
	c, i, exact := o.find(key)
	if !exact {
		return nil
	}
	return o.chunks[c][i]
}

// first returns the first record in [lower, upper), nil where there is none.
// An empty upper is no bound.
func (o *ordered) first(lower, upper []byte) *record {
	c, i, _ := o.find(lower)
	if c >= len(o.chunks) {
		return nil
	}
	r := o.chunks[c][i]
	if len(upper) > 0 && bytes.Compare(r.key, upper) >= 0 {
		return nil
	}
	return r
}

// set puts r in place of its key's former record.
func (o *ordered) set(r *record) {
	c, i, exact := o.find(r.key)
	if exact {
		o.own(c)
		o.chunks[c][i] = r
		return
	}
	o.n++
	if len(o.chunks) == 0 {
		o.chunks, o.owned = [][]*record{{r}}, []uint64{o.views}
		return
	}
	if i == 0 && c > 0 { // append to the chunk before, so that ascending keys fill chunks
		c--
		i = len(o.chunks[c])
	}
	o.own(c)
	o.chunks[c] = slices.Insert(o.chunks[c], i, r)
	if len(o.chunks[c]) > chunkLen {
		o.split(c)
	}
}

// split halves a full chunk; one that grows at its end keeps nearly all, for
// ascending keys never come back to it.
func (o *ordered) split(c int) {
	full := o.chunks[c]
	at := len(full) / 2
	if c == len(o.chunks)-1 {
		at = len(full) - 8
	}
	rest := append(make([]*record, 0, chunkLen+1), full[at:]...)
	clear(full[at:])
	o.chunks[c] = full[:at]
	o.chunks, o.owned = slices.Insert(o.chunks, c+1, rest), slices.Insert(o.owned, c+1, o.views)
}

func (o *ordered) remove(key []byte) {
	c, i, exact := o.find(key)
	if !exact {
		return
	}
	o.n--
	if len(o.chunks[c]) == 1 {
		o.chunks, o.owned = slices.Delete(o.chunks, c, c+1), slices.Delete(o.owned, c, c+1)
		return
	}
	o.own(c)
	o.chunks[c] = slices.Delete(o.chunks[c], i, i+1)
}
