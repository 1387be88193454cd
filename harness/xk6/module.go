package xk6

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/modules"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/scenario"
)

func init() { modules.Register("k6/x/cairn", New()) }

// A Module is what all VUs of one k6 share.
type Module struct {
	mu struct {
		sync.Mutex
		engines map[string]*sharedEngine // by directory
		caches  map[string]*sharedCache  // by name
	}
	tallies tallies
}

var _ modules.Module = (*Module)(nil)

// New returns a module that nothing is open in.
func New() *Module {
	m := &Module{}
	m.mu.engines, m.mu.caches = map[string]*sharedEngine{}, map[string]*sharedCache{}
	return m
}

// An instance is one VU's view of the module.
type instance struct {
	module  *Module
	vu      modules.VU
	metrics *metricSet
	tally   *tally
}

// NewModuleInstance makes a VU's instance. k6 calls it in the VU's init context.
func (m *Module) NewModuleInstance(vu modules.VU) modules.Instance {
	set, err := newMetricSet(vu.InitEnv().Registry)
	if err != nil {
		panic(fmt.Sprintf("k6/x/cairn: %v", err)) // another extension took a name of ours
	}
	return &instance{module: m, vu: vu, metrics: set, tally: m.tallies.add()}
}

// Exports are what a script can import.
func (i *instance) Exports() modules.Exports {
	return modules.Exports{Named: map[string]any{
		"S3":        i.construct(func(v sobek.Value) (any, error) { return newS3(i, v) }),
		"Batch":     i.construct(func(v sobek.Value) (any, error) { return newBatch(i, v) }),
		"Bodies":    i.construct(func(v sobek.Value) (any, error) { return newBodies(i, v) }),
		"open":      i.open,
		"openCache": i.openCache,
		"headline":  i.headline,
		"result":    i.result,
	}}
}

// construct makes a JavaScript constructor that takes one object of options.
func (i *instance) construct(make func(sobek.Value) (any, error)) func(sobek.ConstructorCall) *sobek.Object {
	return func(call sobek.ConstructorCall) *sobek.Object {
		rt := i.vu.Runtime()
		made, err := make(call.Argument(0))
		if err != nil {
			panic(rt.NewGoError(err))
		}
		return rt.ToValue(made).ToObject(rt)
	}
}

// options fills to from an object. A field that to does not know is an error:
// a slip in a script shall not measure something else.
func (i *instance) options(v sobek.Value, to any) error {
	if v == nil || sobek.IsUndefined(v) || sobek.IsNull(v) {
		return nil
	}
	text, err := json.Marshal(v.Export())
	if err != nil {
		return fmt.Errorf("options: %w", err)
	}
	return decodeOptions(text, to)
}

// A Headline is a target as this machine must reach it.
type Headline struct {
	Name       string  `js:"name"`
	Rate       float64 `js:"rate"`       // per second, on this machine
	TargetRate float64 `js:"targetRate"` // per second, of the target itself
	P99        float64 `js:"p99"`        // milliseconds
	Scale      float64 `js:"scale"`
	Durability string  `js:"durability"`

	threshold headline.Threshold
	instance  *instance
}

// headline returns a target, scaled to the machine that the environment names
// or that this is.
func (i *instance) headline(name string) (*Headline, error) {
	goal, err := headline.ByName(name)
	if err != nil {
		return nil, err
	}
	machine, err := machineOf(os.Getenv(scenario.EnvCores), os.Getenv(scenario.EnvMemory))
	if err != nil {
		return nil, err
	}
	t := goal.On(machine)
	return &Headline{
		Name: goal.Name, Rate: t.Rate, TargetRate: goal.Rate, P99: float64(goal.P99.Microseconds()) / 1000, Scale: t.Scale, Durability: goal.Durability,
		threshold: t, instance: i,
	}, nil
}

func machineOf(cores, memory string) (headline.Machine, error) {
	m := headline.This()
	if cores == "" && memory == "" {
		return m, nil
	}
	var errCores, errMemory error
	m.Cores, errCores = strconv.Atoi(cores)
	m.MemoryBytes, errMemory = strconv.ParseInt(memory, 10, 64)
	if err := errors.Join(errCores, errMemory); err != nil || m.Cores < 1 || m.MemoryBytes < 1 {
		return m, fmt.Errorf("%s=%q and %s=%q: want both, as numbers above 0", scenario.EnvCores, cores, scenario.EnvMemory, memory)
	}
	return m, nil
}

// A Verdict is what a run shows of a target.
type Verdict struct {
	Outcome string   `js:"outcome"` // pass, scaled pass, fail, cannot tell
	Reasons []string `js:"reasons"`
}

// Verdict judges all that the VUs have done so far.
func (h *Headline) Verdict() Verdict {
	res := h.instance.module.tallies.result()
	op, ok := res.Ops[scenario.EngineOp(h.Name)]
	if !ok || res.Elapsed <= 0 {
		return Verdict{string(record.CannotTell), []string{"nothing was counted"}}
	}
	v := h.threshold.Judge(float64(op.Count)/res.Elapsed.Seconds(), op.Latency.Quantile(.99))
	if op.Errors > 0 {
		v.Outcome = record.Fail
		v.Reasons = append(v.Reasons, fmt.Sprintf("%d failed", op.Errors))
	}
	return Verdict{string(v.Outcome), v.Reasons}
}

// result is all that the VUs have done so far, with raw histograms, as JSON: a
// scenario.EngineResult. Empty where nothing was done.
func (i *instance) result(name string) (string, error) {
	res := i.module.tallies.result()
	if len(res.Ops) == 0 {
		return "", nil
	}
	text, err := json.Marshal(scenario.EngineResult{Headline: name, Result: res})
	if err != nil {
		return "", fmt.Errorf("result: %w", err)
	}
	return string(text), nil
}
