package remote

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// A breaker keeps requests from waiting for a server that does not answer. It
// is open, and everything a miss, until a probe succeeds; failures in a row
// open it again. The probe is half-open state enough: no request is spent on
// finding out. It asks what requests ask, in the time that they have.
type breaker struct {
	c        *Cache
	open     atomic.Bool
	failures atomic.Int32
	// news: a request has had its answer since the breaker closed, or it never was open. If
	// it closes and opens again without, that is not told, and no reason to ask as often
	// as at first.
	news   atomic.Bool
	opened chan struct{} // wakes the probe
	opens  atomic.Int64
}

// init begins open: the first connection is the probe's to make.
func (b *breaker) init(c *Cache) {
	b.c = c
	b.opened = make(chan struct{}, 1)
	b.open.Store(true)
	b.opened <- struct{}{}
}

func (b *breaker) succeeded() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
	if !b.news.Load() {
		b.news.Store(true)
	}
}

func (b *breaker) failed(err error) {
	if b.c.quit.Err() != nil || b.failures.Add(1) < opensAfter || b.open.Swap(true) {
		return
	}
	b.opens.Add(1)
	if b.news.Load() {
		b.tell(err)
	}
	select {
	case b.opened <- struct{}{}:
	default:
	}
}

func (b *breaker) tell(err error) {
	b.c.opt.Logger.Warn("redis does not answer: the shared cache is left out", "error", err)
}

// probe asks for an answer while the breaker is open, less and less often.
func (b *breaker) probe() {
	pause := b.c.opt.ProbeMin
	for first := true; ; first = false {
		select {
		case <-b.opened:
		case <-b.c.quit.Done():
			return
		}
		news := first || b.news.Swap(false)
		if news {
			pause = b.c.opt.ProbeMin
		}
		begins, told := first, !first // else it was told by who opened it
		for first || b.wait(pause) {
			pause = min(2*pause, b.c.opt.ProbeMax)
			err := b.ask()
			if err == nil {
				break
			}
			if first = false; !told && b.c.quit.Err() == nil {
				told = true
				b.tell(err) // one that never answered
			}
		}
		if b.c.quit.Err() != nil { // it stays open
			return
		}
		b.failures.Store(0)
		b.open.Store(false)
		if b.c.quit.Err() != nil { // Close came in between
			b.open.Store(true)
			return
		}
		if begins {
			b.news.Store(true)
		}
		if news {
			b.c.opt.Logger.Info("redis answers: the shared cache is in use")
		}
	}
}

// wait waits, half of the time by chance, so that nodes do not ask all at once.
func (b *breaker) wait(pause time.Duration) bool {
	t := time.NewTimer(pause/2 + rand.N(pause/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-b.c.quit.Done():
		return false
	}
}

// ask makes a connection if there is none, which takes longer than a request may, and gets
// a key that is nobody's.
func (b *breaker) ask() error {
	ctx, cancel := context.WithTimeout(b.c.quit, b.c.opt.SetTimeout)
	defer cancel()
	if err := b.c.client.Ping(ctx).Err(); err != nil {
		return err
	}
	brief, cancel := context.WithTimeout(ctx, b.c.opt.Timeout)
	defer cancel()
	if err := b.c.client.Get(brief, b.c.prefix+"probe").Err(); !errors.Is(err, redis.Nil) {
		return err
	}
	return nil
}
