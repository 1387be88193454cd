package store

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"time"
)

// A scout walks over the deletes of a large stretch behind those who make them, so
// that the first listing that comes there finds a hollow already. While they go on
// it follows them, which is enough where keys are deleted in their order. Where they
// are not, the stretch is empty only at the end: once little is left of it, it keeps
// what that is (sieve.go), and in the end it looks once more.
type scout struct {
	enough int           // deletes that are worth a walk; Options.HollowSteps
	wake   chan struct{} // there are enough of them, or some after many
	sieves sync.Mutex    // one works on them at a time

	// Under the store's lock:
	count  int             // deletes since the last walk
	marks  [][]byte        // some of their keys
	least  map[byte][]byte // of the keys since deletes began, for each kind
	spread [][]byte        // one of each stride of them
	stride int             // odd: keys of two kinds often come in turns
	all    int             // deletes since they began
	gone   [][]byte        // the keys that were in sieves, since those were last sifted
	missed bool            // there were more of them

	tried int // all, when it last looked whether little is left
	vain  int // how often that was for nothing
}

const (
	// maxMarks bounds what a walk seeks.
	maxMarks = 64
	// marksIn is how many keys, about, are kept of as many deletes as make a hollow.
	marksIn = 4
	// scoutEvery is how long a walk waits for more deletes, and for those that were
	// counted to be durable. Where there are few it waits longer and longer, and after
	// scoutQuiet without any it forgets them.
	scoutEvery   = 20 * time.Millisecond
	scoutSeldom  = time.Second
	scoutView    = 10 * time.Millisecond // of the store, after which what was learnt from it is kept
	scoutQuiet   = time.Minute
	scoutShareOf = 3 // at most one part of so many of a processor is the scout's
)

func newScout(enough int) scout {
	return scout{enough: enough, wake: make(chan struct{}, 1), stride: 1, least: map[byte][]byte{}}
}

// scouted says whether anybody who waits lists keys of that kind, and there is
// something that they end before.
func scouted(key []byte) bool { return key[0] >= FirstKey && key[0] != 0xff }

// note is called with the key of each delete, and whether it is in a sieve. The caller
// holds the store's lock.
func (c *scout) note(key []byte, sieved bool) {
	if !scouted(key) {
		return
	}
	if sieved {
		if c.missed = c.missed || len(c.gone) >= maxGone; !c.missed {
			c.gone = append(c.gone, bytes.Clone(key))
		}
	}
	kind := key[0]
	if c.count%(c.enough/marksIn|1) == 0 && len(c.marks) < maxMarks {
		c.marks = append(c.marks, bytes.Clone(key))
	}
	if least := c.least[kind]; least == nil || bytes.Compare(key, least) < 0 {
		c.least[kind] = append(least[:0], key...)
	}
	if c.all%c.stride == 0 {
		if len(c.spread) == maxMarks {
			c.thin()
			c.stride = 2*c.stride + 1
		}
		c.spread = append(c.spread, bytes.Clone(key))
	}
	c.all++
	if c.count++; c.count == c.enough || c.count == 1 && c.all > c.enough {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// thin lets one of two keys have the say for both, the first and the second in turns.
func (c *scout) thin() {
	n := 0
	for i := 0; i < len(c.spread)-1; i += 2 {
		c.spread[n] = c.spread[i+n%2]
		n++
	}
	clear(c.spread[n:])
	c.spread = c.spread[:n]
}

// take returns how many deletes there were since the last time, and where to look
// for what they have left empty: if there were none any more, all over again.
func (c *scout) take() (deletes int, marks [][]byte) {
	deletes, marks = c.count, c.marks
	c.count, c.marks = 0, nil
	if deletes == 0 && c.all > 0 {
		marks = slices.Clone(c.spread)
		for _, least := range c.least {
			marks = append(marks, bytes.Clone(least))
		}
		c.stride = 1 // those that come now count for more
	}
	return deletes, marks
}

func (c *scout) forget() {
	clear(c.least)
	c.spread, c.stride, c.all, c.tried, c.vain = nil, 1, 0, 0, 0
}

// scoutDeletes is a duty.
func (s *Store) scoutDeletes() {
	defer s.duties.Done()
	var took time.Duration
	wait := scoutQuiet
	timer := time.NewTimer(wait)
	defer timer.Stop()
	c := &s.log
	for {
		select {
		case <-s.scout.wake:
			c.mu.Lock()
			many := s.scout.count >= s.scout.enough
			c.mu.Unlock()
			switch {
			case many:
				wait = scoutEvery
			case wait == scoutQuiet:
				wait = scoutSeldom
			default:
				continue // it is going to look
			}
		case <-timer.C:
			start := time.Now()
			deletes, err := s.walkDeletes()
			took = time.Since(start)
			if err == nil {
				err = s.sieveDeletes(deletes == 0) // it rests by itself
			}
			if err != nil {
				s.logger.Debug("walk over deletes", "err", err) // who lists meets it too, and tells
			}
			switch {
			case deletes > 0:
				wait = min(2*wait, scoutSeldom)
			case wait < scoutQuiet:
				wait = scoutQuiet
			default:
				c.mu.Lock()
				s.scout.forget()
				s.hollows.dropSieves()
				c.mu.Unlock()
				continue
			}
		case <-s.closing:
			return
		}
		timer.Reset(max(wait, (scoutShareOf-1)*took))
	}
}

// A scoutMark is where a walk begins: at the end of a hollow, which grows by
// however little there is, or at a delete, which has to have many behind it.
type scoutMark struct {
	key    []byte
	enough int
}

// walkDeletes learns what the deletes since the last walk have left empty, and
// returns how many there were.
func (s *Store) walkDeletes() (deletes int, err error) {
	c := &s.log
	c.mu.Lock()
	deletes, keys := s.scout.take()
	c.mu.Unlock()
	var marks []scoutMark
	if p := s.hollows.list.Load(); p != nil {
		for _, h := range *p {
			if scouted(h.to) {
				marks = append(marks, scoutMark{h.to, 1})
			}
		}
	}
	for _, k := range keys {
		marks = append(marks, scoutMark{k, s.hollows.steps})
	}
	slices.SortFunc(marks, func(a, b scoutMark) int { return bytes.Compare(a.key, b.key) })
	for len(marks) > 0 {
		// Keys of one kind begin with the same byte, and a walk stays among them.
		n := 1
		for n < len(marks) && marks[n].key[0] == marks[0].key[0] {
			n++
		}
		done, err := s.walkSome(marks[:n])
		if err != nil {
			return deletes, err
		}
		marks = marks[done:]
	}
	return deletes, nil
}

// walkSome walks from marks of one kind until it has learnt something and some time
// has passed: what an iterator of long ago has learnt may not be known to be true any
// more, and is not kept. It returns how many marks it has done with.
func (s *Store) walkSome(marks []scoutMark) (n int, err error) {
	kind := marks[0].key[0]
	it, err := s.newIter([]byte{kind}, []byte{kind + 1})
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	var reached []byte // what the last walk has passed is known
	for n < len(marks) && !(len(it.found) > 0 && time.Since(begin) > scoutView) {
		m := marks[n]
		n++
		if bytes.Compare(m.key, reached) < 0 || s.inHollow(m.key) {
			continue
		}
		it.enough = m.enough
		if !it.SeekGE(m.key) || s.isClosed() {
			n = len(marks) // nothing is behind it, or an error, or nobody wants it any more
			break
		}
		reached = append(reached[:0], it.entry.Key...)
	}
	return n, errors.Join(it.err, it.Close())
}

func (s *Store) inHollow(key []byte) bool {
	p := s.hollows.list.Load()
	return p != nil && hollowOf(*p, key) >= 0
}
