package main

import "container/list"

// A policy decides by keys alone what a cache of equal entries keeps. read
// reports a hit, and on a miss lets the key in.
type policy interface{ read(key uint64) bool }

// entryBytes is what policies are charged for an entry: key, value, and 48 bytes
// for links and the table, which no implementation in Go comes below.
const entryBytes = 24 + traceValue + 48

// lru evicts what was read least recently.
type lru struct {
	room  int
	order list.List
	at    map[uint64]*list.Element
}

func newLRU(entries int) *lru { return &lru{room: entries, at: map[uint64]*list.Element{}} }

func (p *lru) read(key uint64) bool {
	if e := p.at[key]; e != nil {
		p.order.MoveToFront(e)
		return true
	}
	if p.order.Len() >= p.room {
		e := p.order.Back()
		delete(p.at, p.order.Remove(e).(uint64))
	}
	p.at[key] = p.order.PushFront(key)
	return false
}

// sieve is that of Zhang, Yang, Yue, Vigfusson, Rashmi (NSDI 2024).
type sieve struct {
	room  int
	order list.List // newest in front
	hand  *list.Element
	at    map[uint64]*list.Element
}

type sieveEntry struct {
	key     uint64
	visited bool
}

func newSieve(entries int) *sieve { return &sieve{room: entries, at: map[uint64]*list.Element{}} }

func (p *sieve) read(key uint64) bool {
	if e := p.at[key]; e != nil {
		e.Value.(*sieveEntry).visited = true
		return true
	}
	if p.order.Len() >= p.room {
		e := p.hand
		if e == nil {
			e = p.order.Back()
		}
		for e.Value.(*sieveEntry).visited {
			e.Value.(*sieveEntry).visited = false
			if e = e.Prev(); e == nil {
				e = p.order.Back()
			}
		}
		p.hand = e.Prev()
		delete(p.at, p.order.Remove(e).(*sieveEntry).key)
	}
	p.at[key] = p.order.PushFront(&sieveEntry{key: key})
	return false
}

// s3fifo is that of Yang et al. (SOSP 2023), entry by entry.
type s3fifo struct {
	room                   int
	small, main            list.List
	at                     map[uint64]*list.Element
	ghosts                 map[uint64]int // when
	ghostOrder             []uint64
	evicted, ghostCapacity int
}

type s3entry struct {
	key    uint64
	freq   int
	inMain bool
}

func newS3FIFO(entries int) *s3fifo {
	return &s3fifo{room: entries, at: map[uint64]*list.Element{}, ghosts: map[uint64]int{}, ghostCapacity: entries * 9 / 10}
}

func (p *s3fifo) read(key uint64) bool {
	if e := p.at[key]; e != nil {
		s := e.Value.(*s3entry)
		s.freq = min(s.freq+1, 3)
		return true
	}
	for p.small.Len()+p.main.Len() >= p.room {
		p.evict()
	}
	s := &s3entry{key: key}
	if _, s.inMain = p.ghosts[key]; s.inMain {
		delete(p.ghosts, key)
		p.at[key] = p.main.PushFront(s)
	} else {
		p.at[key] = p.small.PushFront(s)
	}
	return false
}

func (p *s3fifo) evict() {
	if p.small.Len() >= p.room/10 || p.main.Len() == 0 {
		for p.small.Len() > 0 {
			s := p.small.Remove(p.small.Back()).(*s3entry)
			if s.freq > 1 {
				s.freq, s.inMain = 0, true
				p.at[s.key] = p.main.PushFront(s)
				continue
			}
			delete(p.at, s.key)
			p.remember(s.key)
			return
		}
	}
	for p.main.Len() > 0 {
		s := p.main.Remove(p.main.Back()).(*s3entry)
		if s.freq > 0 {
			s.freq--
			p.at[s.key] = p.main.PushFront(s)
			continue
		}
		delete(p.at, s.key)
		return
	}
}

func (p *s3fifo) remember(key uint64) {
	p.evicted++
	p.ghosts[key] = p.evicted
	p.ghostOrder = append(p.ghostOrder, key)
	for len(p.ghosts) > p.ghostCapacity && len(p.ghostOrder) > 0 {
		oldest := p.ghostOrder[0]
		p.ghostOrder = p.ghostOrder[1:]
		delete(p.ghosts, oldest)
	}
}
