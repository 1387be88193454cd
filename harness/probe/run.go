package probe

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Options say what is measured.
type Options struct {
	// Dir is a directory on the drive that is measured. A folder is made in it,
	// and removed.
	Dir string
	// Peer is host:port of another machine's `lab probe serve`; empty: none.
	Peer string
	// Quick takes fewer samples: under 20 s instead of under 90 s.
	Quick bool
	Name  string
	Lines io.Writer // progress; nil: none

	slice   time.Duration // of one measurement; 0: by Quick
	streams int64         // bytes of memory that are streamed through; 0: by Quick
}

func (o Options) withDefaults() Options {
	slice, streams := time.Second, int64(512<<20)
	if o.Quick {
		slice, streams = 250*time.Millisecond, 128<<20
	}
	if o.slice == 0 {
		o.slice = slice
	}
	if o.streams == 0 {
		o.streams = streams
	}
	return o
}

// A run is one probe under way.
type run struct {
	Options
	profile *Profile
	spins   spins
	started time.Time
}

func (r *run) warn(format string, args ...any) {
	r.profile.Warnings = append(r.profile.Warnings, fmt.Sprintf(format, args...))
}

// A section is a part of the probe. One that fails leaves its part of the
// profile empty, and a warning.
type section struct {
	name string
	f    func() error
}

// sections runs them in turn, with groups of spins between them.
func (r *run) sections(ctx context.Context, all []section) error {
	r.spins.group(10)
	for _, s := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Lines != nil {
			fmt.Fprintf(r.Lines, "%5.1fs %s\n", time.Since(r.started).Seconds(), s.name)
		}
		if err := s.f(); err != nil {
			r.warn("%s: %v", s.name, err)
		}
		r.spins.group(10)
	}
	return ctx.Err()
}
