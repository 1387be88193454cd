package store

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

// What is left of a drive is given out in this order (docs/decisions/0095). New data is refused
// where less than the reserve and a log segment is left. Deletes go on, in whole segments of the
// log and at last in short ones, as long as compaction could still move a segment. Compaction goes
// on, in files no larger than what it moves, and so does the freeing of what was dropped, down to
// an eighth of the reserve, which is the index's. Another eighth is a file, the ballast.

const (
	// ballastFile is removed for an index, or a start, that finds nothing else.
	ballastFile = "ballast"
	// ballastRest is how long nobody has waited for space when it is made again.
	ballastRest = 10 * time.Second
)

// starvation is who has no room in the log's current segment, and may have some of the reserve.
type starvation int

const (
	noStarvation starvation = iota
	deletesStarve
	droppingStarves // what it frees needs no compaction
)

func (s *Store) indexShare() int64  { return s.opt.Reserve / 8 }
func (s *Store) ballastSize() int64 { return s.opt.Reserve / 8 / blockSize * blockSize }

// left is what the drive has, and could have from files between lives, but for the ballast.
func (s *Store) left() int64 {
	u, err := s.opt.FS.Usage()
	if err != nil {
		s.logger.Error("space of the drive", "err", err)
		return 0
	}
	return u.Free + s.segs.spareBytes()
}

// shortLog is the size of a log segment where there is no room for a whole one. A group fits.
func (s *Store) shortLog() int64 {
	return min(roundUp(max(s.opt.SegmentSize/8, s.opt.GroupBytes+16*blockSize)), s.opt.SegmentSize)
}

// logSize is how large a log segment may be on a drive that is full; 0: there may be none.
func (s *Store) logSize(by starvation) int64 {
	left, keep := s.left()-s.indexShare(), s.opt.SegmentSize
	if left >= s.opt.SegmentSize+keep {
		return s.opt.SegmentSize
	}
	switch {
	case by == droppingStarves:
		keep = 0
	case s.nothingToMove.Load():
		// What deletes have written is, when it is sealed, and that takes little.
		keep = min(keep, 2*s.coldSize(0))
	}
	if left >= s.shortLog()+keep {
		return s.shortLog()
	}
	return 0
}

// logFile finds a file of a size for the log.
func (s *Store) logFile(size int64) (name string, recycled bool, err error) {
	if size == s.opt.SegmentSize {
		return s.segs.takeFile(0)
	}
	name, err = s.segs.shortFile(0, size)
	return name, false, err
}

// bulkSize is how large a new bulk file may be. One segment more is left than new data needs,
// or the file itself would fill the drive for small bodies too. Where the log's files between
// lives have the room, it is made, if that comes to least.
func (s *Store) bulkSize(least int64) int64 {
	if s.refusing.Load() {
		return 0
	}
	if s.segs.freeFiles(1) > 0 {
		return s.opt.BulkSegmentSize
	}
	size := min((s.left()+s.segs.ballast()-s.leastFree()-s.opt.SegmentSize)/blockSize*blockSize, s.opt.BulkSegmentSize)
	for size >= least && s.left()-s.segs.spareBytes() < size+s.indexShare() && s.segs.shed() {
	}
	return size
}

// coldSize is the size of a file that surely takes so many live bytes, if they fit into one.
func (s *Store) coldSize(live int64) int64 {
	return min(roundUp(live+live/16+s.opt.GroupBytes)+8*blockSize, s.opt.SegmentSize)
}

// coldBulkSize is the same for a bulk file.
func (s *Store) coldBulkSize(live int64) int64 {
	return min(roundUp(live+live/16)+2*chunkSpan, s.opt.BulkSegmentSize)
}

// moveCost is what files for so many live bytes of the log take.
func (s *Store) moveCost(live int64) int64 {
	usable := s.movedRoom()
	if !s.refusing.Load() {
		return (live + usable - 1) / usable * s.opt.SegmentSize
	}
	cost := live / usable * s.opt.SegmentSize
	if rest := live % usable; rest > 0 {
		cost += s.coldSize(rest)
	}
	return cost
}

// gains reports that files of size bytes are worth being moved at that cost. On a full drive
// a little is, but not what the next delete would make worth it again.
func gains(cost, size int64) bool { return cost < size-size/16 }

// moveLimit is what those files may take.
func (s *Store) moveLimit() int64 {
	if !s.refusing.Load() {
		return math.MaxInt64
	}
	return s.left() - s.indexShare()
}

// movedFile finds a file of a class for what compaction moves, no larger than that on a full
// drive.
func (s *Store) movedFile(class int, size int64) (name string, err error) {
	if s.refusing.Load() {
		if size > s.moveLimit() {
			return "", fmt.Errorf("compaction has no room for %d bytes: %w", size, disk.ErrFull)
		}
		if size < s.segs.size[class] {
			return s.segs.shortFile(class, size)
		}
	}
	name, _, err = s.segs.takeFile(class)
	return name, err
}

// shortFile makes a file smaller than those of its class, where need be in the room of some
// between lives.
func (t *segments) shortFile(class int, size int64) (name string, err error) {
	for {
		if name, err = t.makeFile(class, size); !isFull(err) || !t.shed() {
			return name, err
		}
	}
}

// loadBallast looks for the ballast that an earlier process has left. One of another size is
// made anew.
func (s *Store) loadBallast() {
	info, err := s.opt.FS.Stat(ballastFile)
	if err == nil && info.Size == s.ballastSize() {
		s.segs.mu.ballast = info.Size
	} else if err == nil {
		_ = s.opt.FS.Remove(ballastFile)
	}
}

// ballast is the size of the ballast, 0 where there is none.
func (t *segments) ballast() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.mu.ballast
}

// takeBallast makes the ballast where there is room enough. It need not be durable.
func (s *Store) takeBallast() {
	t, size := s.segs, s.ballastSize()
	t.making.Lock()
	defer t.making.Unlock()
	if size == 0 || t.ballast() > 0 {
		return
	}
	f, err := t.fs.Create(ballastFile)
	if err == nil {
		err = errors.Join(f.Preallocate(0, size), f.Close())
	}
	if err != nil {
		_ = t.fs.Remove(ballastFile)
		return
	}
	t.mu.Lock()
	t.mu.ballast = size
	t.mu.Unlock()
}

// shedAll gives a file between lives back to the drive, or else the ballast.
func (t *segments) shedAll() bool {
	t.mu.Lock()
	name := t.popLast()
	t.mu.Unlock()
	return name != "" && t.fs.Remove(name) == nil
}

// popLast is popSpare, and then the ballast. Called with mu held, or by Open.
func (t *segments) popLast() string {
	name := t.popSpare()
	if name == "" && t.mu.ballast > 0 {
		name, t.mu.ballast = ballastFile, 0
	}
	return name
}
