//go:build !linux

package load

import (
	"sync"
	"time"
)

// An alarm wakes a goroutine at a time, as precisely as Go's timers do.
type alarm struct {
	rings chan struct{}
	once  sync.Once
}

func newAlarm() (*alarm, error) { return &alarm{rings: make(chan struct{})}, nil }

// sleepUntil returns at t, at once if t has passed, or when the alarm rings.
func (a *alarm) sleepUntil(t time.Time) error {
	select {
	case <-time.After(time.Until(t)):
	case <-a.rings:
	}
	return nil
}

// ring ends the sleep, and every later one.
func (a *alarm) ring() { a.once.Do(func() { close(a.rings) }) }

func (*alarm) close() {}
