package store

import (
	"io"

	"github.com/cairnstore/cairn/engine/disk"
)

// sweepStep is how much a sweep reads at a time.
const sweepStep = 256 << 10

// A sweep reads a sealed segment from its start to its end, past the page cache:
// what compaction and the scrub read once would push out of it what is read often,
// and the scrub is to see what the drive has. It is an io.ReaderAt that is quick
// where each read begins near the end of the one before. The zero value has its
// first buffer when it first reads; it is not for use by several goroutines.
type sweep struct {
	g    *segment
	buf  *disk.Buffer
	have []byte // of buf
	at   int64  // where have begins in the segment
	raw  []byte // the last group
}

// over begins with another segment.
func (w *sweep) over(g *segment) { w.g, w.have = g, nil }

// group reads the group at off as readGroup does, with its bodies; raw is valid until the
// next call.
func (w *sweep) group(off int64) (h groupHeader, raw []byte, badBodies int, err error) {
	h, raw, badBodies, err = readGroupFrom(w, w.raw, w.g, off, true)
	if err == nil {
		w.raw = raw
	}
	return h, raw, badBodies, err
}

func (w *sweep) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		from := off + int64(n)
		if from < w.at || from >= w.at+int64(len(w.have)) {
			if err := w.load(from, len(p)-n); err != nil {
				return n, err
			}
		}
		n += copy(p[n:], w.have[from-w.at:])
	}
	return n, nil
}

// load reads what begins at the block that has off. Where the drive can't read so
// much, it is asked for the blocks of no more than n bytes: a bad one spoils what
// lies in it, and nothing beside.
func (w *sweep) load(off int64, n int) error {
	if off < 0 || off >= w.g.size {
		return io.EOF
	}
	step := min(sweepStep, roundUp(w.g.size/8)) // of small segments not the whole one
	if w.buf == nil || int64(len(w.buf.Bytes)) < step {
		w.buf = disk.NewBuffer(int(step))
	}
	w.at, w.have = off&^(blockSize-1), nil
	within := int(off - w.at)
	b := w.buf.Bytes[:min(step, w.g.size-w.at)]
	got, err := disk.ReadDirect(w.g.file, b, w.at)
	if least := int(roundUp(int64(within + n))); err != nil && err != io.EOF && least < len(b) {
		got, err = disk.ReadDirect(w.g.file, b[:least], w.at)
	}
	if err != nil && (err != io.EOF || got <= within) {
		return err
	}
	w.have = b[:got]
	return nil
}
