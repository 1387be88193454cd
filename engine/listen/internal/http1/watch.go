package http1

import (
	"crypto/tls"
	"net"
	"sync"
	"syscall"
	"time"
)

// lookEvery is how often connections are looked at whose requests want to know
// when the client leaves.
const lookEvery = 100 * time.Millisecond

// A watch looks for clients that have left.
//
// net/http has a goroutine read ahead during each request, which costs a small
// one a fifth of its time: two wake-ups and a deadline to end the read. Here
// nothing happens for a request that is over at the first look after somebody
// asked for its context's Done or Err; for one that lasts, its socket is asked,
// without reading, at each look. The timer runs only while there is something to look at.
type watch struct {
	mu struct {
		sync.Mutex
		conns []*conn
		timer *time.Timer
	}
}

// watch has c looked at as long as its requests ask for it.
func (s *Server) watch(c *conn) {
	if c.watched.Load() || !c.watched.CompareAndSwap(false, true) {
		return
	}
	w := &s.watching
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.conns = append(w.mu.conns, c)
	switch {
	case len(w.mu.conns) > 1:
	case w.mu.timer == nil:
		w.mu.timer = time.AfterFunc(lookEvery, s.look)
	default:
		w.mu.timer.Reset(lookEvery)
	}
}

// look is one look at all that are watched.
func (s *Server) look() {
	w := &s.watching
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.mu.conns[:0]
	for _, c := range w.mu.conns {
		if c.look() {
			kept = append(kept, c)
		}
	}
	clear(w.mu.conns[len(kept):])
	w.mu.conns = kept
	if len(kept) > 0 {
		w.mu.timer.Reset(lookEvery)
	}
}

// look cancels the request under way if its client has left, and reports
// whether to look again. Only the watch calls it, under its lock.
func (c *conn) look() bool {
	x := c.current.Load()
	if x == nil || !x.wanted() {
		c.seen = nil
		c.watched.Store(false)
		// Somebody may have asked between the two lines before, and found c watched.
		x = c.current.Load()
		return x != nil && x.wanted() && c.watched.CompareAndSwap(false, true)
	}
	if c.seen != x { // a short request is over before it is seen twice
		c.seen = x
		return true
	}
	// A body's reader will find out by itself, and what it has not read hides the end.
	if !c.reading.Load() && left(c.net) {
		x.cancel()
	}
	return true
}

// left reports whether the client of c has closed its side or is gone. A
// connection that cannot be asked has not.
func left(c net.Conn) (gone bool) {
	secure, isTLS := c.(*tls.Conn)
	if isTLS {
		c = secure.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) { gone = hungUp(int(fd), isTLS) })
	return gone && err == nil
}
