package http1

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/cairnstore/cairn/engine/internal/caller"
)

// A requestContext is one request's, and a small object of its own: whoever
// keeps it sees that request's end and nothing of the connection's next one.
// It has no goroutine, and no channel before somebody asks for Done.
type requestContext struct {
	conn *conn

	mu struct {
		sync.Mutex
		asked bool // somebody wants to know when the client leaves
		done  chan struct{}
		err   error
	}
}

var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (x *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (x *requestContext) Done() <-chan struct{} {
	x.mu.Lock()
	if x.mu.done == nil {
		if x.mu.err != nil {
			x.mu.done = closedChannel
		} else {
			x.mu.done = make(chan struct{})
		}
	}
	done := x.mu.done
	x.askLocked()
	return done
}

func (x *requestContext) Err() error {
	x.mu.Lock()
	err := x.mu.err
	x.askLocked()
	return err
}

// askLocked gives the lock back, and has the client watched from now on.
func (x *requestContext) askLocked() {
	over := x.mu.err != nil
	x.mu.asked = true
	x.mu.Unlock()
	if !over {
		x.conn.server.watch(x.conn)
	}
}

// wanted reports whether somebody asked and has no answer yet.
func (x *requestContext) wanted() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.asked && x.mu.err == nil
}

func (x *requestContext) Value(key any) any {
	switch key {
	case http.LocalAddrContextKey:
		return x.conn.net.LocalAddr()
	case caller.Key:
		return x.conn.caller
	}
	return nil
}

// cancel ends the context, once.
func (x *requestContext) cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.err != nil {
		return
	}
	x.mu.err = context.Canceled
	if x.mu.done != nil {
		close(x.mu.done)
	}
}
