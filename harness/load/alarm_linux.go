package load

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// An alarm wakes a goroutine at a time. Go's own timers may be up to 1 ms late
// on an idle processor (the runtime polls in whole milliseconds), which would
// be added to every latency that an open loop measures; a timerfd wakes the
// poller within tens of microseconds.
type alarm struct {
	file *os.File
	fd   int
	spec unix.ItimerSpec
	buf  [8]byte
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	return &alarm{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd}, nil
}

// sleepUntil returns at t, at once if t has passed, or when the alarm rings.
func (a *alarm) sleepUntil(t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return nil
	}
	a.spec.Value = unix.NsecToTimespec(int64(d))
	if err := unix.TimerfdSettime(a.fd, 0, &a.spec, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	if _, err := a.file.Read(a.buf[:]); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for timer: %w", err)
	}
	return nil
}

// ring ends the sleep, and every later one.
func (a *alarm) ring() { _ = a.file.SetReadDeadline(time.Unix(0, 1)) }

func (a *alarm) close() { _ = a.file.Close() }
