package probe

import (
	"errors"
	"time"

	"github.com/cairnstore/cairn/harness/measure"
)

// CommitOptions ask what a drive alone makes of the load that a store's log
// puts on it: arrivals that are answered when a write of all that had come, and
// the fdatasync after it, have returned.
type CommitOptions struct {
	Dir      string
	Size     int     // bytes of an arrival
	Rate     float64 // arrivals per second, independent of each other
	Duration time.Duration
	// StreamRate is the bytes per second that go to another file meanwhile, in
	// large writes; 0: none.
	StreamRate int64
	Seed       uint64
}

func (o CommitOptions) check() error {
	if o.Size < 1 || o.Size > LargestCommit || o.Rate <= 0 || o.Duration <= 0 || o.StreamRate < 0 {
		return errors.New("commits: needs a size of 1 byte to 1 MiB, a rate and a duration")
	}
	return nil
}

// Commits is what came of it.
type Commits struct {
	Latency  *measure.Histogram // from when an arrival was due
	Sync     *measure.Histogram // a write and its fdatasync
	Streamed int64              // bytes of the stream
	Elapsed  time.Duration
}

// Group is the arrivals to one fdatasync.
func (c *Commits) Group() float64 {
	return float64(c.Latency.Count()) / float64(max(1, c.Sync.Count()))
}

// LargestCommit is how large an arrival may be.
const LargestCommit = block

// block is the size of the writes of a stream, and what O_DIRECT is aligned to at least.
const block = 1 << 20
