package gate

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Options are one gate. Base and Repository must be set.
type Options struct {
	Repository string // a folder of the git repository
	Base       string // a revision of it
	Candidate  string // a revision; empty: the folder as it is
	Dir        string // on the drive to measure; data is made and removed in a new folder of it
	Budget     time.Duration
	// Pairs of each scenario, if the budget allows for them.
	Pairs            int
	Warmup, Duration time.Duration // of each run
	Seed             uint64        // of data and coins
	Scenarios        []string      // by name; none: all
	Lines            io.Writer     // progress; nil: none
}

// Defaults, which keep a gate within MostTime on two cores.
const (
	DefaultPairs    = 20
	DefaultWarmup   = 300 * time.Millisecond
	DefaultDuration = 1500 * time.Millisecond
	MostTime        = 15 * time.Minute
	// spare is kept of the budget for the last round, for judging and tidying up.
	spare = 20 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Budget == 0 {
		o.Budget = MostTime
	}
	if o.Pairs == 0 {
		o.Pairs = DefaultPairs
	}
	if o.Duration == 0 {
		o.Warmup, o.Duration = DefaultWarmup, DefaultDuration
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Repository == "" || o.Base == "":
		return errors.New("gate: needs a repository and a base")
	case o.Budget <= spare || o.Budget > MostTime:
		return fmt.Errorf("gate: a budget of %v; it is more than %v and at most %v", o.Budget, spare, MostTime)
	case o.Pairs < 1 || o.Pairs > 200:
		return fmt.Errorf("gate: %d pairs; 1 to 200", o.Pairs)
	case o.Duration < 100*time.Millisecond || o.Warmup < 0 || o.Duration+o.Warmup > time.Minute:
		return fmt.Errorf("gate: runs of %v after %v; 100 ms to a minute together", o.Duration, o.Warmup)
	}
	_, err := chosen(o.Scenarios)
	return err
}

func (o Options) say(format string, args ...any) {
	if o.Lines != nil {
		fmt.Fprintf(o.Lines, "gate: "+format+"\n", args...)
	}
}
