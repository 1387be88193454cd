//go:build faults

package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// clockFile is the variable that names the file which sets the clock of a
// build for experiments wrong: it holds a duration, as 1h or -1h, that is added
// to the system's time, and may change while the server runs. No file is no
// change. (A container has no clock of its own that one could set.)
const clockFile = "FAULT_CLOCK_FILE"

// clock is what the engine takes its time from.
func clock(log *slog.Logger) func() time.Time {
	name := os.Getenv(clockFile)
	log.Warn("this build is for experiments: its clock can be set wrong", "file", name)
	c := &wrongClock{name: name, log: log}
	return c.now
}

// lookEvery is how long a change of the file may go unnoticed.
const lookEvery = 20 * time.Millisecond

type wrongClock struct {
	name string
	log  *slog.Logger

	mu struct {
		sync.Mutex
		looked time.Time
		offset time.Duration
	}
}

func (c *wrongClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.name != "" && now.Sub(c.mu.looked) >= lookEvery {
		c.mu.looked = now
		offset, err := readOffset(c.name)
		if err != nil {
			c.log.Error("the file that sets the clock", "error", err)
		} else if offset != c.mu.offset {
			c.log.Warn("the clock jumps", "from", c.mu.offset.String(), "to", offset.String())
			c.mu.offset = offset
		}
	}
	return now.Add(c.mu.offset)
}

func readOffset(name string) (time.Duration, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return time.ParseDuration(strings.TrimSpace(string(text)))
}
