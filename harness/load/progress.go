package load

import (
	"fmt"
	"time"

	"github.com/cairnstore/cairn/harness/measure"
)

// progress is what had been counted when a line was last written.
type progress struct {
	at                        time.Time
	ops, errors, bytes, nanos int64
}

// A Second is what happened in about one second of a load.
type Second struct {
	At     float64 `json:"at_s"` // its end, in seconds since the measured time began; negative in the warm-up
	Ops    int64   `json:"ops"`
	Errors int64   `json:"errors"`
	Bytes  int64   `json:"bytes"`
	MeanUS float64 `json:"mean_us"` // of the latencies
}

// maxSeconds bounds how long a course is kept.
const maxSeconds = 24 * 60 * 60

// counted is what there has been so far, the warm-up included.
func (r *run) counted() progress {
	now := progress{at: time.Now()}
	for _, w := range r.workers {
		now.ops += w.live.ops.Load()
		now.errors += w.live.errors.Load()
		now.bytes += w.live.bytes.Load()
		now.nanos += w.live.nanos.Load()
	}
	return now
}

// report keeps what happened since the last one, and writes a line on it.
func (r *run) report(last progress) progress {
	now := r.counted()
	if last.at.IsZero() {
		last.at = r.start
	}
	seconds := now.at.Sub(last.at).Seconds()
	ops := now.ops - last.ops
	mean := time.Duration(0)
	if ops > 0 {
		mean = time.Duration((now.nanos - last.nanos) / ops)
	}
	if len(r.seconds) < maxSeconds {
		r.seconds = append(r.seconds, Second{
			At: now.at.Sub(r.begin).Seconds(), Ops: ops, Errors: now.errors - last.errors, Bytes: now.bytes - last.bytes, MeanUS: measure.Micros(mean),
		})
	}
	if r.Progress == nil {
		return now
	}
	phase := r.stageName(now.at)
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

// stageName is what a line says of the stage, if there are several.
func (r *run) stageName(at time.Time) string {
	since := at.Sub(r.begin)
	for _, s := range r.Stages {
		if since -= s.For; since < 0 && len(r.Stages) > 1 {
			return "  " + s.Name
		}
	}
	return ""
}
