package remote

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// A breaker keeps requests from waiting for a server that does not answer. It
// is open, and everything a miss, until a probe succeeds; failures in a row
// open it again. The probe is half-open state enough: no request is spent on
// finding out.
type breaker struct {
	c        *Cache
	open     atomic.Bool
	failures atomic.Int32
	told     atomic.Bool   // that it does not answer
	opened   chan struct{} // wakes the probe
	opens    atomic.Int64
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
}

func (b *breaker) failed(err error) {
	if b.c.quit.Err() != nil || b.failures.Add(1) < opensAfter || b.open.Swap(true) {
		return
	}
	b.opens.Add(1)
	b.tell(err)
	select {
	case b.opened <- struct{}{}:
	default:
	}
}

// tell says so once, until it answers again.
func (b *breaker) tell(err error) {
	if !b.told.Swap(true) {
		b.c.opt.Logger.Warn("redis does not answer: the shared cache is left out", "error", err)
	}
}

// probe asks for an answer while the breaker is open, less and less often.
func (b *breaker) probe() {
	for {
		select {
		case <-b.opened:
		case <-b.c.quit.Done():
			return
		}
		for pause := b.c.opt.ProbeMin; ; pause = min(2*pause, b.c.opt.ProbeMax) {
			err := b.ping()
			if err == nil {
				break
			}
			if b.c.quit.Err() == nil {
				b.tell(err) // one that never answered, too
			}
			// Half of it by chance, so that nodes do not ask all at once.
			wait := time.NewTimer(pause/2 + rand.N(pause/2+1))
			select {
			case <-wait.C:
			case <-b.c.quit.Done():
				wait.Stop()
				return
			}
		}
		b.failures.Store(0)
		b.told.Store(false)
		b.open.Store(false)
		if b.c.quit.Err() != nil { // Close came in between
			b.open.Store(true)
			return
		}
		b.c.opt.Logger.Info("redis answers: the shared cache is in use")
	}
}

func (b *breaker) ping() error {
	ctx, cancel := context.WithTimeout(b.c.quit, b.c.opt.SetTimeout)
	defer cancel()
	return b.c.client.Ping(ctx).Err()
}
