package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/cairnstore/cairn/chaos/proxy"
)

var networkFaults = map[string]*kind{
	"net-cut":     {what: "nothing passes between clients and server, and nobody is told", make: func() Fault { return &network{kind: "cut"} }},
	"net-delay":   {what: "every piece takes longer, both ways", make: func() Fault { return &network{kind: "delay", Delay: 80 * time.Millisecond} }},
	"net-loss":    {what: "a share of pieces gets through only when it is sent again", make: func() Fault { return &network{kind: "loss", Loss: .1} }},
	"net-reset":   {what: "connections are reset in the middle of what they carry", make: func() Fault { return &network{kind: "reset", Reset: .05} }},
	"net-trickle": {what: "every connection carries few bytes a second", make: func() Fault { return &network{kind: "trickle", Rate: 64 << 10} }},
}

// network sets the proxy's conditions.
type network struct {
	Delay time.Duration `yaml:"delay"`
	Loss  float64       `yaml:"loss"`
	Reset float64       `yaml:"reset"`
	Rate  Bytes         `yaml:"rate"` // a second

	kind   string
	before proxy.Counts
	at     time.Time
	watch  *Watch
}

func (f *network) validate() error {
	for _, c := range []struct {
		kind  string
		given bool
		good  bool
	}{
		{"delay", f.Delay != 0, f.Delay >= time.Millisecond && f.Delay <= 10*time.Second},
		{"loss", f.Loss != 0, f.Loss > 0 && f.Loss <= 1},
		{"reset", f.Reset != 0, f.Reset > 0 && f.Reset <= 1},
		{"trickle", f.Rate != 0, f.Rate >= 100 && f.Rate <= 1<<30},
	} {
		switch own := c.kind == f.kind; {
		case c.given && !own:
			return fmt.Errorf("%w: net-%s has no setting of net-%s", errNotASetting, f.kind, c.kind)
		case own && !c.good:
			return fmt.Errorf("%w: net-%s", errNotASetting, f.kind)
		}
	}
	return nil
}

func (f *network) SetUp(_ context.Context, s *Stage) error {
	f.before = s.Proxy.Counts()
	return nil
}

func (f *network) Inject(_ context.Context, s *Stage) error {
	f.watch, f.at = s.Watch(), time.Now()
	s.Proxy.Set(proxy.Conditions{Cut: f.kind == "cut", Delay: f.Delay, Loss: f.Loss, Reset: f.Reset, Rate: int64(f.Rate)})
	return nil
}

// slowPut is what an operation must have taken for a slow line to be seen.
const slowPut = 250 * time.Millisecond

func (f *network) Bites(_ context.Context, s *Stage) (string, error) {
	c, seen := s.Proxy.Counts(), f.watch.Seen()
	slowest := seen.Longest.Round(time.Millisecond)
	switch {
	case f.kind == "cut" && c.Held > f.before.Held:
		return stillness(f.watch, f.at, fmt.Sprintf("%d pieces and connections held", c.Held-f.before.Held)), nil
	case f.kind == "delay" && c.Delayed > f.before.Delayed && seen.Longest >= 2*f.Delay:
		return fmt.Sprintf("%d pieces delayed, an operation took %v", c.Delayed-f.before.Delayed, slowest), nil
	case f.kind == "loss" && c.Withheld > f.before.Withheld && seen.Longest >= 200*time.Millisecond:
		return fmt.Sprintf("%d pieces withheld, an operation took %v", c.Withheld-f.before.Withheld, slowest), nil
	case f.kind == "reset" && c.Reset > f.before.Reset && seen.InDoubt > 0:
		return fmt.Sprintf("%d connections reset, %d operations in doubt", c.Reset-f.before.Reset, seen.InDoubt), nil
	case f.kind == "trickle" && c.Slowed > f.before.Slowed && seen.Longest >= slowPut:
		return fmt.Sprintf("%d pieces slowed, an operation took %v", c.Slowed-f.before.Slowed, slowest), nil
	}
	return "", nil
}

func (f *network) Recover(_ context.Context, s *Stage) error {
	s.Proxy.Set(proxy.Conditions{})
	return nil
}

func (f *network) CleanUp(_ context.Context, s *Stage) error {
	f.watch.Close()
	s.Proxy.Set(proxy.Conditions{})
	return nil
}
