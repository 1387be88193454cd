package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// Options of a calibration or a check.
type Options struct {
	Server  target.Server
	Dir     string // on the drive; data is made and removed in a new folder of it
	Profile *probe.Profile
	Sizes   []int // of a calibration
	// Closed are the concurrencies of closed loops, Open the shares of the
	// capacity just measured that open loops offer.
	Closed           []int
	Open             []float64
	Rounds           int
	Warmup, Duration time.Duration
	// Tries is how often a load is run on a machine that is not quiet: the run
	// in which others took least is kept, whatever it found. Default 1.
	Tries int
	Seed  uint64
	Lines io.Writer // progress; nil: none

	held []heldOut // of a check; none: all
}

// Standard is a calibration of some 12 minutes.
func Standard() Options {
	return Options{
		Sizes: []int{4 << 10, 64 << 10, 1 << 20}, Closed: []int{1, 2, 4, 8, 16, 32, 64}, Open: []float64{.2, .4, .55, .7, .8, .9},
		Rounds: 2, Warmup: 500 * time.Millisecond, Duration: 4 * time.Second, Tries: 3, Seed: 1,
	}
}

// openConnections are enough that an open loop below its knee does not wait for one.
const openConnections = 192

// storedBytes bounds what gets choose from: it stays in memory, so that what is
// measured is the server and never the drive's cache of the moment.
const storedBytes = 256 << 20

// resultsLimit bounds one group's data on the drive, in requests' bytes.
const resultsLimit = 24 << 30

func (o Options) validate() error {
	if o.Profile == nil {
		return errors.New("needs the profile of this machine")
	}
	if o.Rounds < 1 || o.Duration <= 0 || o.Warmup < 0 || len(o.Sizes) == 0 || len(o.Closed) < leastClosed || len(o.Open) < leastOpen {
		return fmt.Errorf("needs a size, a round, a duration, %d concurrencies and %d shares", leastClosed, leastOpen)
	}
	for _, s := range o.Open {
		if !(s > 0 && s < 1) {
			return fmt.Errorf("share %g of the capacity: not between 0 and 1", s)
		}
	}
	for _, n := range o.Sizes {
		if n < 1 || n > 64<<20 {
			return fmt.Errorf("size %d: not from 1 byte to 64 MiB", n)
		}
	}
	return nil
}

// Calibrate loads the server in closed and open loops, one operation and size at
// a time, in rounds that go through all of them. It returns the model, and the
// record that the model is made of, whose file the caller names.
func Calibrate(ctx context.Context, o Options) (*Model, *record.Record, error) {
	if err := o.validate(); err != nil {
		return nil, nil, fmt.Errorf("calibrate: %w", err)
	}
	s, err := newSession(o, "calibration")
	if err != nil {
		return nil, nil, fmt.Errorf("calibrate: %w", err)
	}
	err = s.calibrate(ctx)
	err = errors.Join(err, os.RemoveAll(s.dir))
	if err != nil {
		return nil, s.finish(), fmt.Errorf("calibrate: %w", err)
	}
	m := s.model()
	if err := m.Fit(); err != nil {
		return nil, s.finish(), fmt.Errorf("calibrate: %w", err)
	}
	for _, f := range m.Fits {
		name := fmt.Sprintf("plan.%s.%s.", f.Op, sizeName(f.Size))
		s.add(name+"peak", f.PeakPerS, "op/s")
		s.add(name+"rate_residual", f.RateResidual, "%")
		s.add(name+"p99_residual", f.P99Residual, "%")
	}
	return m, s.finish(), nil
}

// A session is loads on one machine that make one record.
type session struct {
	Options
	dir     string
	rec     *record.Record
	loads   []string
	points  []Point
	tries   int
	version string
	started time.Time
}

func newSession(o Options, kind string) (*session, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "plan-")
	if err != nil {
		return nil, err
	}
	s := &session{Options: o, dir: dir, rec: record.New(kind, dir, o.Seed), version: o.Server.Version(), started: time.Now()}
	s.rec.Targets = []record.Target{{Name: o.Server.Name, Version: s.version, Durability: o.Server.Durability}}
	s.rec.Profile = o.Profile.Name
	s.rec.Counters = map[string]int64{"plan.tried_again": 0}
	s.rec.Settings["rounds"], s.rec.Settings["duration"], s.rec.Settings["warmup"] = o.Rounds, o.Duration.String(), o.Warmup.String()
	return s, nil
}

func (s *session) add(name string, v float64, unit string) {
	s.rec.Metrics = append(s.rec.Metrics, record.Metric{Name: name, Value: v, Unit: unit, Durability: s.Server.Durability, Min: v, Max: v})
}

// noisyPercent is what other processes and the hypervisor may take of a machine
// whose figures are kept without a warning.
const noisyPercent = 5

func (s *session) finish() *record.Record {
	s.rec.Settings["loads"] = s.loads
	if n := probe.Priority(); n != 0 {
		s.rec.Warn("load and server ran at nice %d: other processes gave way, or these did", n)
	}
	noisy := 0
	for _, p := range s.points {
		if p.OthersPct > noisyPercent {
			noisy++
		}
	}
	if noisy > 0 {
		s.rec.Warn("in %d of %d runs other processes took more than %d %% of the machine", noisy, len(s.points), noisyPercent)
	}
	return s.rec
}

func (s *session) calibrate(ctx context.Context) error {
	for round := 1; round <= s.Rounds; round++ {
		for _, size := range s.Sizes {
			for _, puts := range []float64{1, 0} {
				if err := s.group(ctx, puts, size, round); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// group runs all loads of one operation and size on a server of their own.
func (s *session) group(ctx context.Context, puts float64, size, round int) error {
	return s.serve(ctx, size, puts < 1, round, func(run func(Load) (Point, error)) error {
		peak := 0.0
		for _, n := range s.Closed {
			p, err := run(Load{Puts: puts, Size: size, Connections: n})
			if err != nil {
				return err
			}
			peak = max(peak, p.Rate)
		}
		for _, share := range s.Open {
			if _, err := run(Load{Puts: puts, Size: size, Connections: openConnections, Offered: math.Round(share * peak)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// serve starts a server on an empty directory, puts what gets need, and lets f
// run loads on it.
func (s *session) serve(ctx context.Context, size int, gets bool, round int, f func(run func(Load) (Point, error)) error) (err error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("data-%d", len(s.points)))
	credentials := target.Credentials{Access: "planadmin", Secret: "plansecret"}
	process, err := s.Server.Start(ctx, dir, credentials)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, process.Stop(), os.RemoveAll(dir))
		if err == nil {
			err = bench.SyncDrive(s.dir)
		}
	}()
	to := load.Target{Address: process.Address(), Access: credentials.Access, Secret: credentials.Secret}
	ws := &load.Workspace{Bucket: "plan", Bodies: load.NewBodies(s.Seed, size), Stored: load.Keys{Prefix: "o-", Count: min(10_000, max(16, storedBytes/uint64(size)))}}
	if err := load.CreateBucket(ctx, to, ws.Bucket); err != nil {
		return err
	}
	if gets {
		if err := load.Preload(ctx, to, ws, 16, s.Lines); err != nil {
			return err
		}
		if err := bench.SyncDrive(s.dir); err != nil {
			return err
		}
	}
	written := 0.0
	return f(func(l Load) (Point, error) {
		duration := s.Duration
		if l.Puts > 0 && written > resultsLimit/2 { // a fast drive fills in no time
			duration = min(duration, time.Second)
		}
		if s.Lines != nil {
			fmt.Fprintf(s.Lines, "%5.0fs %v, round %d\n", time.Since(s.started).Seconds(), l, round)
		}
		var run record.Run
		var p Point
		for try := 1; ; try++ {
			again, err := s.once(ctx, process, l, round, to, ws, &duration)
			if err != nil {
				return Point{}, err
			}
			for _, r := range again.Result.Ops {
				written += float64(r.Bytes)
			}
			if q := pointOf(l, again, s.rec.Machine.Cores); try == 1 || q.OthersPct < p.OthersPct {
				run, p = again, q
			}
			if p.OthersPct <= noisyPercent || try >= s.Tries {
				break
			}
			s.rec.Counters["plan.tried_again"]++
		}
		if total := run.Result.Total(); total.Errors > 0 {
			s.rec.Warn("%v: %d requests failed: %v", l, total.Errors, run.Result.Failures)
		}
		s.rec.Runs = append(s.rec.Runs, run)
		s.loads = append(s.loads, l.line())
		s.points = append(s.points, p)
		if s.Lines != nil {
			fmt.Fprintf(s.Lines, "       %9.0f/s, P50 %.0f µs, P99 %.0f µs, others %.0f %%\n", p.Rate, p.P50US, p.P99US, p.OthersPct)
		}
		return p, nil
	})
}

// once runs a load until something is answered, thrice at most: on a starved
// machine a short run may have no answer at all.
func (s *session) once(ctx context.Context, p *target.Process, l Load, round int, to load.Target, ws *load.Workspace, duration *time.Duration) (run record.Run, err error) {
	for try := 1; ; try++ {
		s.tries++
		ws.Fresh = load.Keys{Prefix: "p" + strconv.Itoa(s.tries) + "-", Scatter: true}
		run, err = bench.Measured(ctx, s.Server, p, l.String(), round, load.Options{
			Target: to, Workspace: ws, Connections: l.Connections, Mix: l.mix(), Rate: l.Offered, Warmup: s.Warmup, Duration: *duration,
			Drain: 5 * time.Second, Unverified: .9, Seed: s.Seed + uint64(s.tries),
		})
		if err != nil || run.Result.Total().Count > 0 {
			return run, err
		}
		if try == 3 {
			return run, fmt.Errorf("%v: nothing was answered: %v", l, run.Result.Failures)
		}
		s.rec.Warn("%v: nothing was answered within %v: tried again for twice as long", l, *duration)
		*duration *= 2
	}
}

func (s *session) model() *Model {
	m := newModel(s.rec, s.Profile)
	m.Points = s.points
	return m
}

// newModel is a model without points yet.
func newModel(rec *record.Record, p *probe.Profile) *Model {
	m := &Model{
		Version: ModelVersion, Name: p.Name, Made: rec.Started.Truncate(time.Second), Commit: rec.Lab.Commit,
		Machine: Machine{Profile: p.Name, Threads: rec.Machine.Cores, MemoryBytes: rec.Machine.MemoryBytes, SpinMS: p.Noise.SpinCPUMS, SyncP50US: p.SyncP50US(), Noise: p.Noise.Level, Shared: true},
		Checks:  []Check{},
	}
	for _, t := range rec.Targets {
		m.Target, m.Durability = t.Version, t.Durability
	}
	m.Warnings = append(m.Warnings, rec.Warnings...)
	return m
}

// FromRecord makes the model of a calibration's record anew.
func FromRecord(rec *record.Record, p *probe.Profile) (*Model, error) {
	if rec.Profile != "" && rec.Profile != p.Name {
		return nil, fmt.Errorf("fit: the record is of the machine %q and the profile of %q", rec.Profile, p.Name)
	}
	points, err := PointsOf(rec)
	if err != nil {
		return nil, fmt.Errorf("fit: %w", err)
	}
	m := newModel(rec, p)
	m.Points = points
	return m, m.Fit()
}
