package load

import (
	"fmt"
	"time"
)

// progress is what had been counted when a line was last written.
type progress struct {
	at                        time.Time
	ops, errors, bytes, nanos int64
}

// report writes one line on what happened since the last.
func (r *run) report(last progress) progress {
	now := progress{at: time.Now()}
	for _, w := range r.workers {
		now.ops += w.live.ops.Load()
		now.errors += w.live.errors.Load()
		now.bytes += w.live.bytes.Load()
		now.nanos += w.live.nanos.Load()
	}
	if last.at.IsZero() {
		last.at = r.start
	}
	seconds := now.at.Sub(last.at).Seconds()
	ops := now.ops - last.ops
	mean := time.Duration(0)
	if ops > 0 {
		mean = time.Duration((now.nanos - last.nanos) / ops)
	}
	phase := ""
	if now.at.Before(r.begin) {
		phase = "  warm-up"
	} else if r.schedule != nil && now.at.After(r.end) {
		phase = "  draining"
	}
	fmt.Fprintf(r.Progress, "%4.0fs %9.0f op/s %8.1f MB/s  mean %10v  errors %d%s\n",
		now.at.Sub(r.start).Seconds(), float64(ops)/seconds, float64(now.bytes-last.bytes)/1e6/seconds,
		mean.Round(time.Microsecond), now.errors-last.errors, phase)
	return now
}
