//go:build !linux

package probe

import "time"

var begun = time.Now()

// threadTime is wall-clock time where no thread tells its own.
func threadTime() time.Duration { return time.Since(begun) }
