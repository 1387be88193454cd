//go:build !linux

package load

import (
	"context"
	"time"
)

// A loop needs epoll; here each worker is a goroutine.
type loop struct{}

type coroutine struct{}

func newLoops([]*worker, float64, float64) ([]*loop, error) { return nil, nil }

func closeLoops([]*loop) {}

func (*loop) follow(func() (arrival, bool))                 {}
func (*loop) run(context.Context, context.CancelFunc) error { panic("load: no loops here") }
func (*loop) take(*worker) (arrival, bool)                  { panic("load: no loops here") }
func (*loop) rest(func(stage int))                          {}
func (*worker) received(_, done time.Time) time.Time        { return done }
func (*worker) sleep(time.Duration)                         { panic("load: no loops here") }
