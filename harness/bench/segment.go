package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/system"
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
	server           int
	from, mine       [2]system.Sample
	busy, stolen     [2]time.Duration
	err              error
	gone             error // the server's process could not be read
	generatorProcess int
	// The server's system calls are counted in the warm-up, not while it is measured:
	// a tracepoint makes every call on the machine dearer.
	tracer       *system.Tracer // nil: none could be had, or it has counted
	calls, syncs int64
}

// newMeter's server is a process of this machine; 0: it is not known.
func newMeter(server int) *meter {
	m := &meter{server: server, generatorProcess: os.Getpid()}
	if server != 0 {
		m.tracer, _ = system.Trace(server)
	}
	return m
}

func (m *meter) begin() {
	m.read(0) // first: to take a tracer off takes a tenth of a second
	m.count()
}

func (m *meter) end() { m.read(1) }

// count ends the counting of system calls. Where they can't be counted the rest
// still is: a sample says so by having none.
func (m *meter) count() {
	if m.tracer == nil {
		return
	}
	var err error
	m.calls, m.syncs, err = m.tracer.Counts()
	if err = errors.Join(err, m.tracer.Close()); err != nil && m.err == nil {
		m.err = err
	}
	m.tracer = nil
}

// close ends what a load that failed before it began has left open.
func (m *meter) close() { m.count() }

func (m *meter) read(i int) {
	var err error
	keep := func(e error) {
		if e != nil && m.err == nil {
			m.err = e
		}
	}
	if m.server != 0 {
		if m.from[i], err = system.Process(m.server); err != nil && m.gone == nil {
			m.gone = err
		}
	}
	m.mine[i], err = system.Process(m.generatorProcess)
	keep(err)
	m.busy[i], m.stolen[i], err = system.CPU()
	keep(err)
}

// run is a record's Run of what was measured.
func (m *meter) run(c string, s target.Server, round int, res *load.Result) (record.Run, error) {
	if m.err != nil {
		return record.Run{}, fmt.Errorf("measure %s: %w", s.Name, m.err)
	}
	// A server that has ended has failed what came after, and that is a result.
	if m.gone != nil && res.Total().Errors == 0 {
		return record.Run{}, fmt.Errorf("measure %s: %w", s.Name, m.gone)
	}
	mine := m.mine[1].Since(m.mine[0])
	run := record.Run{
		Case: c, Target: s.Name, Durability: s.Durability, Round: round, Result: res, Generator: mine, Stolen: m.stolen[1] - m.stolen[0],
	}
	if m.server != 0 && m.gone == nil {
		used := m.from[1].Since(m.from[0])
		if res.Warmed > 0 {
			each := float64(res.Total().Count) / float64(res.Warmed)
			used.SystemCalls, used.Syncs = int64(float64(m.calls)*each), int64(float64(m.syncs)*each)
		}
		run.Server = &used
		// Ticks are 10 ms and read one after the other: a little below nothing is nothing.
		run.Others = max(0, m.busy[1]-m.busy[0]-used.CPU()-mine.CPU())
	}
	return run, nil
}

// A Segment is one server serving one case for one round.
type Segment struct {
	Server target.Server
	// Running is where the server is, if somebody else runs it; PID is its
	// process, if that is on this machine. Otherwise it is started, on Dir.
	Running *load.Target
	PID     int
	Dir     string

	Case             Case
	Round            int
	Seed             uint64
	Warmup, Duration time.Duration
	Preload          bool
	Lines            io.Writer // progress; nil: none
}

// Measure starts the server, prepares the case's objects, loads, and stops the
// server. When it returns, all that the server wrote is on the drive, so that
// no server pays for another's dirty pages.
func (s Segment) Measure(ctx context.Context) (run record.Run, err error) {
	if s.Running != nil {
		return s.load(ctx, *s.Running, s.PID)
	}
	process, err := s.Server.Start(ctx, s.Dir, credentials)
	if err != nil {
		return run, err
	}
	defer func() {
		if e := process.Stop(); e != nil && err == nil {
			err = e
		}
		if e := syncDrive(s.Dir); e != nil && err == nil {
			err = e
		}
	}()
	return s.load(ctx, client(process), process.PID())
}

// load prepares and measures on a server that is there.
func (s Segment) load(ctx context.Context, at load.Target, pid int) (run record.Run, err error) {
	plan := s.Case.plan(s.Seed, s.Round, s.Warmup, s.Duration)
	ws := plan.Load.Workspace
	if err := load.CreateBucket(ctx, at, ws.Bucket); err != nil {
		return run, fmt.Errorf("%s: %w", s.Server.Name, err)
	}
	if s.Preload && ws.Stored.Count > 0 {
		if err := load.Preload(ctx, at, ws, preloaders, s.Lines); err != nil {
			return run, fmt.Errorf("%s: %w", s.Server.Name, err)
		}
		if s.Running == nil {
			if err := syncDrive(s.Dir); err != nil {
				return run, err
			}
		}
	}
	if b := plan.Background; b != nil {
		background, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		b.Target, b.Bucket = at, ws.Bucket
		go func() { done <- b.Run(background) }()
		defer func() {
			stop()
			if e := <-done; e != nil && err == nil {
				err = fmt.Errorf("background: %w", e)
			}
		}()
	}
	m := newMeter(pid)
	defer m.close()
	o := plan.Load
	o.Target, o.Seed, o.Progress, o.Begin, o.End = at, s.Seed+uint64(s.Round), s.Lines, m.begin, m.end
	res, err := load.Run(ctx, o)
	if err != nil {
		return run, fmt.Errorf("%s on %s: %w", s.Case.Name, s.Server.Name, err)
	}
	return m.run(s.Case.Name, s.Server, s.Round, res)
}
