package bench

import (
	"context"
	"fmt"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// Measured runs one load on a server that somebody started on this machine, and
// says what server, generator and machine used meanwhile.
func Measured(ctx context.Context, s target.Server, p *target.Process, name string, round int, o load.Options) (record.Run, error) {
	m := newMeter(p.PID())
	defer m.close()
	o.Begin, o.End = m.begin, m.end
	res, err := load.Run(ctx, o)
	if err != nil {
		return record.Run{}, fmt.Errorf("%s on %s: %w", name, s.Name, err)
	}
	return m.run(name, s, round, res)
}

// SyncDrive writes all dirty pages of dir's file system to its drive, so that
// no measurement pays for what was written before it.
func SyncDrive(dir string) error { return syncDrive(dir) }
