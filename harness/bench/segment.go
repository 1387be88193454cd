package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// preloaders is how many connections put a case's stored objects.
const preloaders = 32

// credentials are those of every server that bench starts, on loopback, for
// the time of one experiment.
var credentials = target.Credentials{Access: "benchadmin", Secret: "benchsecret"}

// freshDir makes a new folder for one experiment's data.
func freshDir(parent string) (string, error) {
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, "bench-")
}

func client(p *target.Process) load.Target {
	return load.Target{Address: p.Address(), Access: credentials.Access, Secret: credentials.Secret}
}

// A meter reads what server, generator and machine used while a load was
// measured. Its methods begin and end are the load's Begin and End.
type meter struct {
	server           *target.Process
	from, mine       [2]target.Sample
	busy, stolen     [2]time.Duration
	err              error
	generatorProcess int
}

func newMeter(server *target.Process) *meter {
	return &meter{server: server, generatorProcess: os.Getpid()}
}

func (m *meter) begin() { m.read(0) }
func (m *meter) end()   { m.read(1) }

func (m *meter) read(i int) {
	var err error
	keep := func(e error) {
		if e != nil && m.err == nil {
			m.err = e
		}
	}
	m.from[i], err = m.server.Sample()
	keep(err)
	m.mine[i], err = target.SampleProcess(m.generatorProcess)
	keep(err)
	m.busy[i], m.stolen[i], err = target.MachineCPU()
	keep(err)
}

// run is a record's Run of what was measured.
func (m *meter) run(c string, s target.Server, round int, res *load.Result) (record.Run, error) {
	if m.err != nil {
		return record.Run{}, fmt.Errorf("measure %s: %w", s.Name, m.err)
	}
	used, mine := m.from[1].Since(m.from[0]), m.mine[1].Since(m.mine[0])
	return record.Run{
		Case: c, Target: s.Name, Durability: s.Durability, Round: round, Result: res, Server: &used, Generator: mine,
		// Ticks are 10 ms and read one after the other: a little below nothing is nothing.
		Others: max(0, m.busy[1]-m.busy[0]-used.CPU()-mine.CPU()),
		Stolen: m.stolen[1] - m.stolen[0],
	}, nil
}

// A segment is one server serving one case for one round.
type segment struct {
	server           target.Server
	dir              string
	c                Case
	round            int
	seed             uint64
	warmup, duration time.Duration
	preload          bool
	lines            io.Writer
}

// measure starts the server, prepares the case's objects, loads, and stops the
// server. When it returns, all that the server wrote is on the drive, so that
// no server pays for another's dirty pages.
func (s segment) measure(ctx context.Context) (run record.Run, err error) {
	process, err := s.server.Start(ctx, s.dir, credentials)
	if err != nil {
		return run, err
	}
	defer func() {
		if e := process.Stop(); e != nil && err == nil {
			err = e
		}
		if e := syncDrive(s.dir); e != nil && err == nil {
			err = e
		}
	}()
	ws := s.c.workspace(s.seed, s.round)
	if err := load.CreateBucket(ctx, client(process), ws.Bucket); err != nil {
		return run, fmt.Errorf("%s: %w", s.server.Name, err)
	}
	if s.preload && ws.Stored.Count > 0 {
		if err := load.Preload(ctx, client(process), ws, preloaders, s.lines); err != nil {
			return run, fmt.Errorf("%s: %w", s.server.Name, err)
		}
		if err := syncDrive(s.dir); err != nil {
			return run, err
		}
	}
	m := newMeter(process)
	warmup := s.warmup
	if s.c.Consumes {
		warmup = 0 // it would use up what is to be measured
	}
	res, err := load.Run(ctx, load.Options{
		Target: client(process), Workspace: ws, Connections: s.c.Connections, Mix: s.c.Mix,
		Warmup: warmup, Duration: s.duration, Unverified: s.c.Unverified, Seed: s.seed + uint64(s.round), Progress: s.lines,
		Begin: m.begin, End: m.end,
	})
	if err != nil {
		return run, fmt.Errorf("%s on %s: %w", s.c.Name, s.server.Name, err)
	}
	return m.run(s.c.Name, s.server, s.round, res)
}
