package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/harness/container"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
	"github.com/cairnstore/cairn/harness/verify"
)

// Options say how to run a plan.
type Options struct {
	Plan   *Plan
	Engine *container.Engine
	Binary string // the server, static; of the plan's build
	// Times, if above 0, is how often each step's fault is done, instead of
	// what the plan says.
	Times int
	// Lines takes the progress; nil: none.
	Lines io.Writer
	// Remains is a directory for the journal of a run that failed; "": it is not kept.
	Remains string
}

// ErrBroken: the server broke a promise, or a fault did not do what it should.
// The record's verdict says what.
var ErrBroken = errors.New("the experiment failed")

// ErrNoLoss is an ErrBroken for other reasons than what became of data: a fault without
// effect, a server that grew.
var ErrNoLoss = fmt.Errorf("%w without a loss", ErrBroken)

// ErrUndecided: nothing broken was found, and not everything could be judged in
// time. The record's verdict is that it cannot tell, which is no pass.
var ErrUndecided = errors.New("the experiment cannot tell")

// bounds of the growth checker: a server's memory and descriptors while idle.
var growth = verify.Growth{Memory: 1.5, MemorySlack: 96 << 20, Descriptors: 64}

// undecidedAfter bounds the search for an order in Linear, for each verification.
const undecidedAfter = 60 * time.Second

// An experiment is a plan under way.
type experiment struct {
	*Stage
	o       Options
	random  *rand.Rand
	record  *record.Record
	out     reporter
	broken  []verify.Violation
	usage   []verify.Usage
	heal    map[string]*measure.Histogram // by fault: from its end until the server was well
	doubted []string                      // keys that Linear did not decide
	idled   int                           // epochs in which nothing was acknowledged that could be lost

	pause context.CancelFunc // of the load
	idle  chan struct{}
	lost  *verify.Epoch // of the first violation
}

// Run runs a plan. Without an error it passed. The record is returned with
// ErrBroken and ErrUndecided too, and with any other error that came once the
// server ran.
func Run(ctx context.Context, o Options) (*record.Record, error) {
	p, e := o.Plan, newExperiment(o)
	image, err := o.Engine.Build(ctx, o.Binary)
	if err != nil {
		return nil, err
	}
	err = e.build(ctx, image)
	if err == nil {
		e.out.say("%s: the server answers at %s, on a volume of the kind %s", p.Name, e.Address, p.Volume.Kind)
		err = e.steps(ctx)
	}
	if err != nil && e.Container != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w\nlast of the server's log:\n%s", err, e.Container.Log(context.Background(), 15))
	}
	err = errors.Join(err, e.keepRemains(), e.strike())
	e.conclude(err)
	// What was found stands, whatever else went wrong.
	if err == nil || len(e.broken) > 0 {
		err = errors.Join(e.judgement(), err)
	}
	return e.record, err
}

// ofData are the checkers of what became of data. A server that does not come back has lost
// it, too: so one refuses to open a log in which synced writes are damaged.
var ofData = []string{"acknowledged", "linear", "listed", "checksum", "recovery"}

// judgement is the verdict as an error: nil of a pass alone.
func (e *experiment) judgement() error {
	kind := ErrUndecided
	switch e.record.Verdict.Outcome {
	case record.Pass:
		return nil
	case record.Fail:
		kind = ErrNoLoss
		if slices.ContainsFunc(e.broken, func(v verify.Violation) bool { return slices.Contains(ofData, v.Checker) }) {
			kind = ErrBroken
		}
	}
	first, _, _ := strings.Cut(e.record.Verdict.Reasons[0], "\n")
	return fmt.Errorf("%w: %s", kind, first)
}

func newExperiment(o Options) *experiment {
	p := o.Plan
	e := &experiment{
		o: o, Stage: &Stage{Plan: p, engine: o.Engine, chronicle: newChronicle()},
		random: rand.New(rand.NewPCG(p.Seed, 0x6368616f73)), heal: map[string]*measure.Histogram{},
		record: record.New("chaos", os.TempDir(), p.Seed), out: reporter{o.Lines, time.Now()},
	}
	e.counts.of = map[string]int64{}
	e.describe()
	return e
}

func (e *experiment) describe() {
	p, r := e.Plan, e.record
	server := target.Cairn(e.o.Binary)
	durability := server.Durability
	if p.Server.Build == PlantedBug {
		durability = "none: acknowledges before its sync (a planted bug)"
	}
	r.Scenario = &record.Scenario{Name: p.Name, Hash: p.Hash}
	r.Targets = []record.Target{{Name: "cairn (" + string(p.Server.Build) + ")", Version: server.Version(), Durability: durability}}
	r.Settings["asks"], r.Settings["fails"] = p.Asks, p.Fails
	r.Settings["volume"], r.Settings["build"] = string(p.Volume.Kind), string(p.Server.Build)
	r.Settings["clients"], r.Settings["keys"], r.Settings["rate"] = p.Load.Clients, p.Load.Keys, p.Load.Rate
	r.Settings["checkers"] = p.Checkers
	r.Settings["faults"] = e.faultNames()
}

func (e *experiment) faultNames() (names []string) {
	for i := range e.Plan.Steps {
		names = append(names, fmt.Sprintf("%s × %d", e.Plan.Steps[i].Fault, e.times(&e.Plan.Steps[i])))
	}
	return names
}

func (e *experiment) times(s *Step) int {
	if e.o.Times > 0 {
		return e.o.Times
	}
	return s.Times
}

// steps does what the plan says, under load, until something is broken.
func (e *experiment) steps(ctx context.Context) error {
	e.resume(ctx)
	defer e.stop()
	if err := e.inPeace(ctx); err != nil {
		return err
	}
	for i := range e.Plan.Steps {
		s := &e.Plan.Steps[i]
		times := e.times(s)
		var last Fault
		for n := 0; n < times || e.lacks(last) && n < times+extraTimes; n++ {
			if !sleep(ctx, e.within(s.After)) {
				return ctx.Err()
			}
			fault := s.fault()
			last = fault
			if err := e.once(ctx, s, fault, n); err != nil || len(e.broken) > 0 {
				return err
			}
			if (n+1)%s.Verify == 0 || n+1 >= times {
				if err := e.judge(ctx); err != nil || len(e.broken) > 0 {
					return err
				}
			}
		}
		if e.lacks(last) {
			e.breaks("effect", "%s came %d times and there were no %s", s.Fault, times+extraTimes, last.(requirer).required())
			return nil
		}
	}
	return nil
}

// A requirer is a fault of which a single one may have no effect, but not all.
type requirer interface {
	// required is what must be counted at the end.
	required() string
}

// extraTimes is how often such a fault comes again when it has had no effect yet:
// whether a server has written something and not synced it at one moment is a toss of a coin.
const extraTimes = 20

// lacks reports that what a fault must do has not been seen.
func (e *experiment) lacks(f Fault) bool {
	r, ok := f.(requirer)
	return ok && e.counts.of[r.required()] == 0
}

// inPeace sees that the load runs before anything is done to the server.
func (e *experiment) inPeace(ctx context.Context) error {
	w := e.Watch()
	defer w.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for w.Seen().Answered < int64(e.Plan.Load.Clients) {
		if !sleep(ctx, 10*time.Millisecond) {
			return fmt.Errorf("the load does not run before any fault: %+v", w.Seen())
		}
	}
	return nil
}

func (e *experiment) within(s Span) time.Duration {
	return s.Least + time.Duration(e.random.Int64N(int64(s.Most-s.Least)+1))
}

func (e *experiment) breaks(checker, format string, args ...any) {
	e.broken = append(e.broken, verify.Violation{Checker: checker, What: fmt.Sprintf(format, args...)})
}

// once is a fault's contract, from SetUp to CleanUp.
func (e *experiment) once(ctx context.Context, s *Step, f Fault, n int) (err error) {
	mark := func(phase, note string) { e.chronicle.mark(s.Fault, phase, note) }
	defer func() {
		clean, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if e := f.CleanUp(clean, e.Stage); e != nil && err == nil {
			err = fmt.Errorf("%s: clean up: %w", s.Fault, e)
		}
	}()
	if err := f.SetUp(ctx, e.Stage); err != nil {
		return fmt.Errorf("%s: set up: %w", s.Fault, err)
	}
	mark("inject", "")
	if err := f.Inject(ctx, e.Stage); err != nil {
		return fmt.Errorf("%s: inject: %w", s.Fault, err)
	}
	seen, err := e.awaitBite(ctx, s, f)
	if err != nil || seen == "" {
		return err
	}
	mark("bites", seen)
	e.Count("fault "+s.Fault, 1)
	if !sleep(ctx, e.within(s.Hold)) {
		return ctx.Err()
	}
	began := time.Now()
	mark("recover", "")
	heal, cancel := context.WithTimeout(ctx, s.HealWithin)
	defer cancel()
	err = f.Recover(heal, e.Stage)
	if err == nil {
		err = e.awaitHealthy(heal)
	}
	took := time.Since(began)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.breaks("recovery", "after %s the server was not well within %v: %v", s.Fault, s.HealWithin, err)
		return nil
	}
	mark("healthy", took.Round(time.Millisecond).String())
	if e.heal[s.Fault] == nil {
		e.heal[s.Fault] = measure.NewHistogram()
	}
	e.heal[s.Fault].Record(took)
	if slices.Contains(e.Plan.Checkers, "recovery") {
		e.broken = append(e.broken, verify.Recovery(took, s.HealWithin)...)
	}
	e.out.say("%s %d of %d: %s; well after %v", s.Fault, n+1, e.times(s), seen, took.Round(time.Millisecond))
	return nil
}

// awaitBite waits until a fault is seen. "" without an error: something is broken.
func (e *experiment) awaitBite(ctx context.Context, s *Step, f Fault) (string, error) {
	bite, cancel := context.WithTimeout(ctx, s.BiteWithin)
	defer cancel()
	for {
		seen, err := f.Bites(bite, e.Stage)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case seen != "":
			return seen, nil
		case err != nil && bite.Err() == nil:
			e.breaks("effect", "%s: %v", s.Fault, err)
			return "", nil
		}
		if !sleep(bite, 20*time.Millisecond) && ctx.Err() == nil {
			e.breaks("effect", "%s had no visible effect within %v, so that nothing is learned", s.Fault, s.BiteWithin)
			return "", nil
		}
	}
}

// resume lets the load run.
func (e *experiment) resume(ctx context.Context) {
	ctx, e.pause = context.WithCancel(ctx)
	idle := make(chan struct{})
	e.idle = idle
	go func() {
		defer close(idle)
		if err := e.load.Run(ctx); err != nil {
			panic("chaos: a plan that was good makes no load: " + err.Error())
		}
	}()
}

// stop lets the load finish what it began.
func (e *experiment) stop() {
	e.pause()
	<-e.idle
}

// readWithin bounds the reading of everything, with a server that is well.
const readWithin = 2 * time.Minute

// judge pauses the load, reads everything, and lets the checkers decide.
func (e *experiment) judge(ctx context.Context) error {
	e.stop()
	began := time.Now()
	bounded, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	found, err := e.load.ReadAll(bounded)
	if wrong, ok := errors.AsType[*verify.CorruptError](err); ok {
		e.breaks("checksum", "%v", wrong)
		err = nil
	}
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.breaks("acknowledged", "with the server well, not everything can be read: %v", err)
		return nil
	}
	listing, err := e.list(bounded)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.breaks("listed", "with the server well: %v", err)
		return nil
	}
	if err := e.lookAgain(bounded, found, listing); err != nil {
		return err
	}
	usage, err := e.Usage(ctx)
	if err == nil {
		e.usage = append(e.usage, usage)
	}
	e.check(found, listing)
	if err != nil {
		return err
	}
	e.chronicle.mark("", "verify", fmt.Sprintf("%d keys, %v; %d MiB, %d descriptors", len(found), time.Since(began).Round(time.Millisecond), usage.RSS>>20, usage.Descriptors))
	if len(e.broken) == 0 {
		e.resume(ctx)
	}
	return nil
}

// listTries are as patient as the reads, which try again until their time is over.
const listTries = 10

func (e *experiment) list(ctx context.Context) (listing map[string]verify.Entry, err error) {
	for range listTries {
		if listing, err = e.Client.List(ctx, keyPrefix); err == nil || ctx.Err() != nil {
			break
		}
		e.Count("listings tried again", 1)
		sleep(ctx, 500*time.Millisecond)
	}
	return listing, err
}

// lookAgain reads and lists once more where the two differ in keys of which a write is in
// doubt: that may have happened between them. Of other keys what was found first stands.
func (e *experiment) lookAgain(ctx context.Context, found map[string]verify.Content, listing map[string]verify.Entry) error {
	doubt := e.load.Journal.InDoubt()
	if len(doubt) == 0 || len(verify.Listed(listing, found)) == 0 {
		return nil
	}
	e.Count("listings looked at again", 1)
	again, err := e.load.ReadAll(ctx)
	if err != nil {
		return err
	}
	listed, err := e.list(ctx)
	if err != nil {
		return err
	}
	for key := range doubt {
		found[key] = again[key]
		if delete(listing, key); listed[key] != (verify.Entry{}) {
			listing[key] = listed[key]
		}
	}
	return nil
}

// check lets the plan's checkers judge the epoch that ends.
func (e *experiment) check(found map[string]verify.Content, listing map[string]verify.Entry) {
	epoch := e.load.Journal.Cut()
	e.Count("verifications", 1)
	e.Count("reads verified", int64(len(found)))
	for outcome, n := range epoch.Counts() {
		e.Count("operations "+string(outcome), int64(n))
	}
	if !epoch.Wrote() {
		e.idled++
	}
	e.broken = append(e.broken, e.load.Corrupt()...)
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, checker := range map[string]func() []verify.Violation{
		"acknowledged": func() []verify.Violation { return verify.Acknowledged(&epoch) },
		"listed":       func() []verify.Violation { return verify.Listed(listing, found) },
		"growth":       func() []verify.Violation { return growth.Check(e.usage) },
		"linear": func() []verify.Violation {
			broken, undecided := verify.Linear(&epoch, undecidedAfter)
			mu.Lock()
			defer mu.Unlock()
			e.doubted = append(e.doubted, undecided...)
			return broken
		},
	} {
		if !slices.Contains(e.Plan.Checkers, name) {
			continue
		}
		all.Go(func() {
			broken := checker()
			mu.Lock()
			defer mu.Unlock()
			e.broken = append(e.broken, broken...)
		})
	}
	all.Wait()
	slices.SortStableFunc(e.broken, func(a, b verify.Violation) int { return strings.Compare(a.Checker, b.Checker) })
	if len(e.broken) > 0 {
		e.lost = &epoch
	}
}

// keepRemains writes the journal of the epoch in which something broke.
func (e *experiment) keepRemains() error {
	if e.lost == nil || e.o.Remains == "" {
		return nil
	}
	if err := os.MkdirAll(e.o.Remains, 0o755); err != nil {
		return fmt.Errorf("keep the journal: %w", err)
	}
	name := filepath.Join(e.o.Remains, fmt.Sprintf("%s-%s.jsonl", e.record.Started.Format("20060102T150405.000Z"), e.Plan.Name))
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("keep the journal: %w", err)
	}
	e.out.say("the journal of the broken epoch: %s", name)
	e.record.Settings["journal"] = name
	return errors.Join(e.lost.Write(f), f.Close())
}

// maxReasons of one checker are told; the journal has them all.
const maxReasons = 5

// conclude completes the record.
func (e *experiment) conclude(err error) {
	r := e.record
	r.Runs = []record.Run{{Case: e.Plan.Name, Target: r.Targets[0].Name, Durability: r.Targets[0].Durability, Result: e.chronicle.result()}}
	r.Timeline = e.chronicle.timeline()
	r.Counters = e.counts.of
	for _, s := range e.Plan.Steps {
		h := e.heal[s.Fault]
		if h == nil {
			continue
		}
		r.Metrics = append(r.Metrics, record.Metric{
			Name: "recovery after " + s.Fault + ", median", Value: measure.Micros(h.Quantile(.5)) / 1000, Unit: "ms", Durability: r.Targets[0].Durability,
			Min: measure.Micros(h.Quantile(0)) / 1000, Max: measure.Micros(h.Max()) / 1000,
		})
		delete(e.heal, s.Fault)
	}
	r.Metrics = append(r.Metrics, atRest(e.usage, r.Targets[0].Durability)...)
	if len(e.doubted) > 0 {
		r.Warn("the order of %d histories was not decided in time", len(e.doubted))
	}
	if slices.Contains(e.Plan.Checkers, "growth") && !growth.Judges(e.usage) {
		r.Warn("growth was not judged: of no process, and of no row of them, are there three samples at rest; one is taken after each fault")
	}
	r.Verdict = &record.Verdict{Outcome: record.Pass}
	told := map[string]int{}
	for _, v := range e.broken {
		r.Verdict.Outcome = record.Fail
		if told[v.Checker]++; told[v.Checker] <= maxReasons {
			r.Verdict.Reasons = append(r.Verdict.Reasons, v.String())
		}
	}
	if err != nil {
		r.Verdict.Reasons = append(r.Verdict.Reasons, "ended early: "+err.Error())
	}
	switch {
	case len(e.broken) > 0:
	case err != nil:
		r.Verdict.Outcome = record.CannotTell
	case e.idled > 0:
		r.Verdict.Outcome = record.CannotTell
		r.Verdict.Reasons = []string{fmt.Sprintf("before %d of the verifications no write was acknowledged: there was nothing to lose", e.idled)}
	case len(e.broken) == 0 && len(e.doubted) > 0:
		r.Verdict.Outcome = record.CannotTell
		r.Verdict.Reasons = []string{"the order of some histories was not decided in time"}
	}
}

// atRest is what the last process held while nothing was asked of it: at the end,
// and the least and the most.
func atRest(usage []verify.Usage, durability string) []record.Metric {
	if len(usage) == 0 {
		return nil
	}
	last := usage[len(usage)-1]
	memory := record.Metric{Name: "memory at rest", Unit: "MiB", Durability: durability, Value: float64(last.RSS >> 20)}
	files := record.Metric{Name: "descriptors at rest", Unit: "descriptors", Durability: durability, Value: float64(last.Descriptors)}
	memory.Min, memory.Max, files.Min, files.Max = memory.Value, memory.Value, files.Value, files.Value
	for _, u := range usage {
		if u.Process != last.Process {
			continue
		}
		memory.Min, memory.Max = min(memory.Min, float64(u.RSS>>20)), max(memory.Max, float64(u.RSS>>20))
		files.Min, files.Max = min(files.Min, float64(u.Descriptors)), max(files.Max, float64(u.Descriptors))
	}
	return []record.Metric{memory, files}
}
