package flash

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

// A region is a file of fixed size that is filled once a life, from its
// beginning to its end, and then emptied as a whole.
type region struct {
	number int
	file   disk.File
	life   atomic.Uint64 // 0: none
	// written is where this life's bytes on the drive end; what the index
	// places behind it is in memory.
	written atomic.Int64
	live    atomic.Int64 // entries of the index that point here

	seq  uint64    // by gather.mu, as the rest
	born time.Time //
	used int64     // bytes given out to buffers

	dirty bool // written since its last sync; the writer's
}

func regionName(number int) string { return fmt.Sprintf("region-%04d", number) }

// dropped counts an entry that does not point here any more.
func (r *region) dropped() { r.live.Add(-1) }

// A scanner reads through regions. Its window is large where records are small,
// so that a region is read at the drive's speed, and small where they are
// large, so that their values are not read at all.
type scanner struct {
	window []byte
	start  int64 // of the window in the region
	n      int
}

const (
	wideWindow   = 1 << 20
	narrowWindow = 4096
	largeRecord  = 128 << 10
)

// A found is one record that a scan came by. Key and record are valid until
// the scan goes on; record is nil where the window does not hold all of it.
type found struct {
	recordHeader
	key    []byte
	record []byte
}

// scan calls each for the records of a life in [from, to), in order, and
// returns where they end: at the first block that begins with none. Of each
// it has checked the header, not the value.
func (s *scanner) scan(r *region, life uint64, from, to int64, each func(f found) error) (int64, error) {
	if s.window == nil {
		s.window = disk.AlignedBuffer(wideWindow)
	}
	s.n = 0
	last := largeRecord + 1 // there may be no record: a checkpoint knew them all
	end := from
	for off := from; off+headerSize <= to; {
		b, err := s.at(r, off, to, last)
		if err != nil {
			return end, err
		}
		h, key, err := decodeRecordHeader(b, life, off)
		if err != nil || off+int64(h.size()) > to {
			if off%blockSize == 0 {
				break
			}
			off = roundUp(off) // behind the zeros that filled a block
			continue
		}
		f := found{recordHeader: h, key: key}
		if h.size() <= len(b) {
			f.record = b[:h.size()]
		}
		if err := each(f); err != nil {
			return end, err
		}
		last = h.size()
		off += int64(last)
		end = roundUp(off)
	}
	return end, nil
}

// at returns bytes from off on, enough for a header and its key unless the end is near.
func (s *scanner) at(r *region, off, to int64, last int) ([]byte, error) {
	need := min(headerSize+MaxKey, to-off)
	if off < s.start || off+need > s.start+int64(s.n) {
		want := int64(wideWindow)
		if last > largeRecord {
			want = narrowWindow
		}
		s.start, s.n = off, 0
		n, err := r.file.ReadAt(s.window[:min(want, to-off)], off)
		if err != nil {
			return nil, fmt.Errorf("read region %d: %w", r.number, err)
		}
		s.n = n
	}
	return s.window[off-s.start : s.n], nil
}
