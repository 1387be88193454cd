package load

import (
	"sync"
	"time"
)

// resolution bounds how often a clock wakes up. A machine that shares its cores
// with the server pays several microseconds for each time it is woken, at
// 15,000 arrivals a second as much as for a request itself; those that are due
// within so little of each other come together. Latency counts from when each
// was due, so what this adds is in the figures.
const resolution = 200 * time.Microsecond

// An arrival is one request that an open loop is to make.
type arrival struct {
	due   time.Time
	stage int
}

// A clock gives each arrival of a schedule, when it is due, to a worker that is
// idle, or to the next one that is done with its last. Of several idle workers it
// takes the one that was idle last, whose connection is still warm.
type clock struct {
	schedule *schedule
	start    time.Time
	alarm    *alarm

	mu struct {
		sync.Mutex
		awaited sync.Cond // idle has one, or there is nothing to wait for
		idle    []chan arrival
		next    arrival
		last    bool // there is no next
		stopped bool
	}
}

func newClock(s *schedule, start time.Time) (*clock, error) {
	a, err := newAlarm()
	if err != nil {
		return nil, err
	}
	c := &clock{schedule: s, start: start, alarm: a}
	c.mu.awaited.L = &c.mu
	c.advance()
	return c, nil
}

// advance takes the next arrival out of the schedule. c.mu is held.
func (c *clock) advance() {
	at, stage, ok := c.schedule.next()
	c.mu.next, c.mu.last = arrival{c.start.Add(at), stage}, !ok
}

// over: nobody will be given anything. c.mu is held.
func (c *clock) over() bool { return c.mu.last || c.mu.stopped }

// take returns the next arrival when it is due; false: there are no more, or the
// clock has stopped. given must be the caller's own and have room for one.
func (c *clock) take(given chan arrival) (arrival, bool) {
	c.mu.Lock()
	if c.over() {
		c.mu.Unlock()
		return arrival{}, false
	}
	if next := c.mu.next; !time.Now().Before(next.due) {
		c.advance()
		if c.mu.last {
			c.mu.awaited.Signal()
		}
		c.mu.Unlock()
		return next, true
	}
	c.mu.idle = append(c.mu.idle, given)
	if len(c.mu.idle) == 1 {
		c.mu.awaited.Signal()
	}
	c.mu.Unlock()
	a, ok := <-given
	return a, ok
}

// run gives out arrivals until there are no more or the clock is stopped, and
// then tells the idle workers so.
func (c *clock) run() error {
	defer c.alarm.close()
	for {
		wake, ok := c.give(time.Now())
		if !ok {
			return nil
		}
		if err := c.alarm.sleepUntil(wake); err != nil {
			c.stop()
			return err
		}
	}
}

// give hands out what is due, and returns when to look again; false at the end.
func (c *clock) give(now time.Time) (wake time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for !c.over() && len(c.mu.idle) > 0 && !now.Before(c.mu.next.due) {
			last := len(c.mu.idle) - 1
			c.mu.idle[last] <- c.mu.next
			c.mu.idle = c.mu.idle[:last]
			c.advance()
		}
		switch {
		case c.over():
			c.dismiss()
			return wake, false
		case len(c.mu.idle) > 0:
			if wake = now.Add(resolution); wake.Before(c.mu.next.due) {
				wake = c.mu.next.due
			}
			return wake, true
		}
		c.mu.awaited.Wait()
		now = time.Now()
	}
}

// stop ends the clock: nothing more is given out.
func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.stopped = true
	c.dismiss()
	c.mu.awaited.Signal()
	c.alarm.ring()
}

// dismiss tells the idle workers that it is over. c.mu is held.
func (c *clock) dismiss() {
	for _, w := range c.mu.idle {
		close(w)
	}
	c.mu.idle = nil
}

// rest calls each with the stages of the arrivals that nobody was given. The
// clock must have ended.
func (c *clock) rest(each func(stage int)) {
	for ; !c.mu.last; c.advance() {
		each(c.mu.next.stage)
	}
}
