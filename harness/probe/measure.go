package probe

import (
	"math"
	"runtime"
	"sync"
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

// perSecond calls f, which does one unit of work without waiting for anything,
// until the time is over, on as many threads, and returns units per second of
// all together. Seconds are of each thread's CPU time: what others take of the
// machine is in its noise, and not in this.
func perSecond(threads int, d time.Duration, f func(thread int)) float64 {
	rates := make([]float64, threads)
	var all sync.WaitGroup
	start := time.Now()
	for t := range threads {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			from, n := threadTime(), 0
			for n == 0 || time.Since(start) < d {
				f(t)
				n++
			}
			if used := threadTime() - from; used > 0 {
				rates[t] = float64(n) / used.Seconds()
			}
		})
	}
	all.Wait()
	sum := 0.0
	for _, r := range rates {
		sum += r
	}
	return sum
}

// best is the highest of three rates: what disturbs a measurement of pure
// speed makes it slower, never faster.
func best(measure func() float64) (rate float64) {
	for range 3 {
		rate = max(rate, measure())
	}
	return rate
}
