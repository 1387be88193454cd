package probe

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// round keeps four significant digits: no measurement here has more.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// perSecond calls f, which does one unit of work, until the time is over, on as
// many threads, and returns units per second of all together.
func perSecond(threads int, d time.Duration, f func(thread int)) float64 {
	var done atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for t := range threads {
		all.Go(func() {
			var n int64
			for time.Since(start) < d {
				f(t)
				n++
			}
			done.Add(n)
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// best is the highest of three rates: what disturbs a measurement of pure
// speed makes it slower, never faster.
func best(measure func() float64) (rate float64) {
	for range 3 {
		rate = max(rate, measure())
	}
	return rate
}
