package store

import (
	"errors"
	"path"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

// Files between lives are kept for the next ones: those need neither be made, which
// for the log means that they are filled with zeros, nor given back to the drive.
// What is too many of them is erased in the background.
const (
	// spareFiles of a class are kept in any case, unless the drive is full.
	spareFiles = 4
	// spareMost bytes of a class are kept at most, and no more than this share of what is
	// free on the drive.
	spareMost  = 4 << 30
	spareShare = 8
)

// surplus takes a file that is too many, where free is what is free on the drive. It
// returns "" where there is none.
func (t *segments) surplus(free int64) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c, names := range t.mu.free {
		if n := len(names); n > spareFiles && int64(n)*t.size[c] > min(spareMost, free/spareShare) {
			return t.popFree(c)
		}
	}
	return ""
}

// spareBytes is the size of the files between lives, and spareOf of those of a class.
func (t *segments) spareBytes() int64   { return t.spareOf(0) + t.spareOf(1) }
func (t *segments) spareOf(c int) int64 { return int64(t.freeFiles(c)) * t.size[c] }

// release takes the file of a life that is over, which may be one too many.
func (t *segments) release(g *segment) {
	_ = g.file.Close()                                                            // nothing in it matters now
	_ = t.keepOrRemove(suspect{name: g.name, class: class(g.kind), size: g.size}) // its header says free, should it stay
	t.wakeEraser()
}

func (t *segments) wakeEraser() {
	select {
	case t.released <- struct{}{}:
	default:
	}
}

// eraseForever gives files back that are too many.
func (s *Store) eraseForever() {
	defer s.duties.Done()
	for {
		select {
		case <-s.segs.released:
		case <-s.closing:
			return
		}
		for {
			name := s.segs.surplus(s.stats.diskFree.Load())
			if name == "" {
				break
			}
			if err := disk.Erase(s.opt.FS, name, s.opt.eraseStep, s.restErasing); errors.Is(err, ErrClosed) {
				return // its header says free: the next start removes it
			} else if err != nil {
				s.logger.Warn("a file that is free stays", "file", path.Base(name), "err", err)
			}
		}
	}
}

// restErasing does not rest on a full drive, where others wait for the space. When the
// store is being closed, it is ErrClosed.
func (s *Store) restErasing(d time.Duration) error {
	select {
	case <-s.leaving:
		return ErrClosed
	default:
	}
	if s.refusing.Load() {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-s.leaving:
		return ErrClosed
	}
}
