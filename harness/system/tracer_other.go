//go:build !linux

package system

import "errors"

// A Tracer counts the system calls of a process: on Linux only.
type Tracer struct{}

// ErrNoTracer: this system cannot.
var ErrNoTracer = errors.New("system calls cannot be counted here")

// Trace returns ErrNoTracer.
func Trace(int) (*Tracer, error) { return nil, ErrNoTracer }

// Counts are never asked for.
func (t *Tracer) Counts() (calls, syncs int64, err error) { return 0, 0, ErrNoTracer }

// Close does nothing.
func (t *Tracer) Close() error { return nil }
