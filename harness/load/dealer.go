package load

import (
	"sync"
	"time"
)

// A dealer deals the arrivals of a schedule to a number of loops, one after the
// other, whoever asks first: each gets what one of so many clients would.
type dealer struct {
	schedule *schedule
	start    time.Time

	mu    sync.Mutex
	turn  int         // whose the schedule's next arrival is
	hands [][]arrival // out of the schedule, for those who have not asked yet
}

func newDealer(s *schedule, start time.Time, loops int) *dealer {
	return &dealer{schedule: s, start: start, hands: make([][]arrival, loops)}
}

// next is the loop's next arrival; false: there are no more.
func (d *dealer) next(loop int) (arrival, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if hand := d.hands[loop]; len(hand) > 0 {
		d.hands[loop] = hand[1:]
		return hand[0], true
	}
	for {
		a, ok := d.draw()
		if !ok {
			return a, false
		}
		to := d.turn
		d.turn = (d.turn + 1) % len(d.hands)
		if to == loop {
			return a, true
		}
		d.hands[to] = append(d.hands[to], a)
	}
}

// draw takes the next arrival out of the schedule.
func (d *dealer) draw() (arrival, bool) {
	at, stage, ok := d.schedule.next()
	return arrival{d.start.Add(at), stage}, ok
}

// rest calls each with the stages of the arrivals that nobody asked for.
func (d *dealer) rest(each func(stage int)) {
	for i, hand := range d.hands {
		for _, a := range hand {
			each(a.stage)
		}
		d.hands[i] = nil
	}
	for a, ok := d.draw(); ok; a, ok = d.draw() {
		each(a.stage)
	}
}
