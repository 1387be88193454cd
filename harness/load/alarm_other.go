//go:build !linux

package load

import "time"

// An alarm wakes a goroutine at a time, as precisely as Go's timers do.
type alarm struct{}

func newAlarm() (*alarm, error) { return &alarm{}, nil }

func (*alarm) sleepUntil(t time.Time) error {
	time.Sleep(time.Until(t))
	return nil
}

func (*alarm) close() {}
