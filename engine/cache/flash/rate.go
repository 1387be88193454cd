package flash

import (
	"sync"
	"time"
)

// A bucket lets bytes pass at a rate. It may be in debt: what has to be written
// whatever the rate is paid for by what comes later, so that the sum over any
// time stays within rate*time + burst + the largest debt.
type bucket struct {
	rate, burst int64 // bytes a second, bytes; a negative rate: no bound

	mu struct {
		sync.Mutex
		tokens int64
		last   time.Time
	}
}

func (b *bucket) init(rate, burst int64) {
	b.rate, b.burst = rate, burst
	b.mu.tokens, b.mu.last = burst, time.Now()
}

// take lets n bytes pass if there is room for them.
func (b *bucket) take(n int64) bool {
	if b.rate < 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.tokens < n {
		b.refill()
	}
	if b.mu.tokens < n {
		return false
	}
	b.mu.tokens -= n
	return true
}

// charge takes n bytes, or gives -n back, whatever there is.
func (b *bucket) charge(n int64) {
	if b.rate < 0 {
		return
	}
	b.mu.Lock()
	b.mu.tokens = min(b.mu.tokens-n, b.burst)
	b.mu.Unlock()
}

func (b *bucket) refill() {
	now := time.Now()
	// In floats: a long pause times a high rate overflows.
	earned := now.Sub(b.mu.last).Seconds() * float64(b.rate)
	if earned < 1 {
		return
	}
	b.mu.last = now
	b.mu.tokens = int64(min(float64(b.mu.tokens)+earned, float64(b.burst)))
}
