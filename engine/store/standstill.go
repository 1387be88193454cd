package store

import (
	"sync/atomic"
	"time"
)

// standstill knows since when the log waits for its drive: to write a group, or to turn
// to the next segment. A drive that hangs gives no error, and no latency before it is back.
type standstill struct {
	epoch time.Time    // the clock that it counts by is not set back
	since atomic.Int64 // nanoseconds from epoch; 0: it does not wait
}

func (w *standstill) begin() { w.since.Store(max(int64(time.Since(w.epoch)), 1)) }
func (w *standstill) end()   { w.since.Store(0) }

// lasts is for how long the log has waited by now.
func (w *standstill) lasts() time.Duration {
	since := w.since.Load()
	if since == 0 {
		return 0
	}
	return max(time.Since(w.epoch)-time.Duration(since), 0)
}

// watchDrive tells of a drive that has not answered for Options.standstill, again when that
// has gone on for five times as long as was told last, and when it is over.
func (s *Store) watchDrive() {
	tick := time.NewTicker(s.opt.standstill / 10)
	defer tick.Stop()
	var longest time.Duration // of a wait that was told
	next := s.opt.standstill
	for {
		select {
		case <-tick.C:
		case <-s.closing:
			return
		}
		switch d := s.standstill.lasts(); {
		case s.refusing.Load() || s.spaceWaits.Load() > 0: // that it waits for space is told
		case d >= next:
			s.logger.Warn("the drive does not answer; writes wait for it", "seconds", d.Seconds())
			longest, next = d, 5*d
		case longest > 0 && d < longest:
			s.logger.Info("the drive answers again", "seconds", longest.Seconds())
			longest, next = 0, s.opt.standstill
		}
	}
}
