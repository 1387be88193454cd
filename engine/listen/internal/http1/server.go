package http1

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/internal/caller"
)

// A Server serves connections that others accept. Its fields are not changed
// once ServeConn was called.
type Server struct {
	Handler http.Handler
	Log     *slog.Logger
	// Refusal answers what is refused before the handler sees it: with which fields, and
	// which body. nil, or nil from it: in plain text.
	Refusal func(status int, reason string) (http.Header, []byte)

	HeaderTimeout time.Duration // for a head; 0: none
	IdleTimeout   time.Duration // between requests; 0: none
	// StallTimeout is how long a read of a body may bring nothing; 0: for ever.
	// Writes are bounded by the connection itself.
	StallTimeout   time.Duration
	MaxHeaderBytes int // of a head with its request line

	stopping atomic.Bool
	watching watch
	mu       struct {
		sync.Mutex
		conns map[*conn]struct{}
	}
}

// ServeConn serves a connection until it ends, and closes it. A *tls.Conn has
// done its handshake. What c has of CloseWrite, WriteVector and SyscallConn is used:
// to let clients see a last answer, to send without copying, and to see them leave.
func (s *Server) ServeConn(c net.Conn) {
	k := &conn{server: s, net: c, born: time.Now(), caller: caller.New()}
	if a := c.RemoteAddr(); a != nil {
		k.remote = a.String()
	}
	if secure, ok := c.(*tls.Conn); ok {
		state := secure.ConnectionState()
		k.tls = &state
	}
	defer c.Close()
	s.mu.Lock()
	if s.stopping.Load() {
		s.mu.Unlock()
		return
	}
	if s.mu.conns == nil {
		s.mu.conns = make(map[*conn]struct{})
	}
	s.mu.conns[k] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.mu.conns, k)
		s.mu.Unlock()
	}()
	k.serve()
}

// newFor is how long a connection that has asked nothing, or has sent a part of a head, holds
// Shutdown up: its request may be on its way.
const newFor = 5 * time.Second

// Shutdown closes idle connections, lets requests that have begun finish, and
// returns when all connections have ended, or with ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	began := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if s.retire(began) {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// silentFor is how long a connection must have asked nothing for Evict to take it: its next
// request may be on its way.
const silentFor = time.Second

// Evict closes a connection for others' sake, if there is one of which nothing is lost: the
// one that has never asked anything for longest, or else the one between two requests.
func (s *Server) Evict() bool {
	now := time.Now()
	var silent, idle *conn
	s.mu.Lock()
	for c := range s.mu.conns {
		switch c.state.Load() {
		case stateNew:
			if now.Sub(c.born) > silentFor && (silent == nil || c.born.Before(silent.born)) {
				silent = c
			}
		case stateIdle:
			if at := c.idleSince(); now.Sub(at) > silentFor && (idle == nil || at.Before(idle.idleSince())) {
				idle = c
			}
		}
	}
	s.mu.Unlock()
	switch {
	case silent != nil && silent.state.CompareAndSwap(stateNew, stateClosed):
		silent.drop()
	case idle != nil && idle.state.CompareAndSwap(stateIdle, stateClosed):
		idle.drop()
	default:
		return false
	}
	return true
}

// idleSince is when the last answer was out.
func (c *conn) idleSince() time.Time { return c.born.Add(time.Duration(c.rested.Load())) }

// drop closes the connection at once: TLS would wait until its farewell is sent.
func (c *conn) drop() {
	if t, ok := c.net.(*tls.Conn); ok {
		_ = t.NetConn().Close()
		return
	}
	_ = c.net.Close()
}

// retire closes the connections of which no request has begun, in a stop that began then, and
// reports whether none is left.
func (s *Server) retire(began time.Time) bool {
	s.mu.Lock()
	var idle []net.Conn
	for c := range s.mu.conns {
		if c.state.CompareAndSwap(stateIdle, stateClosed) ||
			time.Since(c.born) > newFor && c.state.CompareAndSwap(stateNew, stateClosed) ||
			time.Since(began) > newFor && c.state.CompareAndSwap(stateHead, stateClosed) {
			idle = append(idle, c.net)
		}
	}
	none := len(s.mu.conns) == 0
	s.mu.Unlock()
	for _, c := range idle { // outside the lock: TLS says farewell
		_ = c.Close()
	}
	return none
}

// Close cuts all connections off. The contexts of their requests end.
func (s *Server) Close() {
	s.stopping.Store(true)
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.net.Close()
		if x := c.current.Load(); x != nil {
			x.cancel()
		}
	}
}
