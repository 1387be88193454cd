package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// settings are those of a comparison of speed.
type settings struct {
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"duration_ns"` // of each row
	Workers  int           `json:"goroutines"`
	Keys     uint64        `json:"keys"`
	Budget   int64         `json:"budget_bytes"`
	Large    int64         `json:"large_budget_bytes"` // of the row about the collector
	Only     []string      `json:"contenders"`
	Rows     []string      `json:"rows"`
	through  []string
	results  string
	json     bool
}

const (
	smallValue = 256
	largeValue = 4096
	exponent   = 1.01
	tight      = 1.75 // times what keys and values are: the budget of a cache that has room for them, and little more
)

// rows in their order. Reads come after the cache was filled with small values.
var rows = []string{"set256", "get_uniform", "get_zipf", "get_batched", "set256_batched", "latency", "set256_tight", "set4k", "gc"}

func (s *settings) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&s.Rounds, "rounds", 5, "rounds; contenders take turns in each")
	f.DurationVar(&s.Duration, "duration", time.Second, "time of each row")
	f.IntVar(&s.Workers, "goroutines", 2, "that call at the same time, and GOMAXPROCS")
	f.Uint64Var(&s.Keys, "keys", 1_000_000, "different keys")
	f.Int64Var(&s.Budget, "budget", 1<<30, "bytes of each cache that takes a budget")
	f.Int64Var(&s.Large, "large-budget", 5<<30, "bytes of the cache that holds 4 GiB of values; 0 leaves that row out")
	f.StringSliceVar(&s.Only, "only", nil, "contenders; all if empty")
	f.StringSliceVar(&s.Rows, "rows", nil, "rows; all if empty")
}

func newSpeed() *cobra.Command {
	s := settings{}
	cmd := &cobra.Command{
		Use: "speed", Short: "Rates, latencies and the collector's share, in interleaved rounds", Args: cobra.NoArgs,
		Example: `  rivals speed --rounds 5
  rivals speed --only cairn,fastcache --rows set256,get_uniform --json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return speed(cmd.Context(), s) },
	}
	s.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&s.through, "through", nil, "command and arguments that start each contender's process, such as taskset")
	f.StringVar(&s.results, "results", "../../results/runs", "directory that the raw record is written to; empty: none is")
	f.BoolVar(&s.json, "json", false, "print JSON")
	return cmd
}

// speed runs the rounds. Each contender has a process of its own, so that one's
// heap is no burden to another.
func speed(ctx context.Context, s settings) error {
	rec := newRecord("rivals", s)
	var all []sample
	for round := range s.Rounds {
		names := []string{"floor"}
		for i := range contenders { // another one begins each round
			c := contenders[(i+round)%len(contenders)]
			if len(s.Only) == 0 || slices.Contains(s.Only, c.name) {
				names = append(names, c.name)
			}
		}
		for _, name := range names {
			fmt.Fprintf(os.Stderr, "round %d of %d: %s\n", round+1, s.Rounds, name)
			samples, err := child(ctx, s, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, sm := range samples {
				sm.Round = round + 1
				all = append(all, sm)
			}
		}
	}
	return report(rec, s, all)
}

// child runs one contender's rows in a process of its own.
func child(ctx context.Context, s settings, name string) (samples []sample, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	line := append(slices.Clone(s.through), self, "sample", "--contender", name,
		"--duration", s.Duration.String(), "--goroutines", fmt.Sprint(s.Workers), "--keys", fmt.Sprint(s.Keys),
		"--budget", fmt.Sprint(s.Budget), "--large-budget", fmt.Sprint(s.Large), "--rows", strings.Join(s.Rows, ","))
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return samples, json.NewDecoder(bytes.NewReader(out)).Decode(&samples)
}

// newSample is the child's command.
func newSample() *cobra.Command {
	s := settings{}
	var name string
	cmd := &cobra.Command{
		Use: "sample", Short: "One contender's rows, once, as JSON", Args: cobra.NoArgs, Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			runtime.GOMAXPROCS(s.Workers)
			samples, err := rowsOf(s, name)
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(samples)
		},
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&name, "contender", "cairn", "which")
	return cmd
}

func (s *settings) wants(row string) bool { return len(s.Rows) == 0 || slices.Contains(s.Rows, row) }

func rowsOf(s settings, name string) (samples []sample, err error) {
	if name == "floor" {
		return floors(s.Workers, s.Duration, int64(s.Keys)*(smallValue+48), smallValue)
	}
	i := slices.IndexFunc(contenders, func(c struct {
		name, module string
		budgeted     bool
		make         func(int64, int, int) (contender, error)
	}) bool {
		return c.name == name
	})
	if i < 0 {
		return nil, fmt.Errorf("there is no contender of that name")
	}
	which := contenders[i]
	row := func(row string, measure func() sample) {
		if !s.wants(row) {
			return
		}
		sm := measure()
		sm.Row, sm.Contender = row, name
		samples = append(samples, sm)
	}
	zipf := draw(4<<20, exponent, s.Keys)
	c, err := which.make(s.Budget, int(s.Keys), smallValue)
	if err != nil {
		return nil, err
	}
	fill(c, s.Keys, smallValue, s.Workers)
	row("set256", func() sample { return sets(c, s.Workers, s.Duration, s.Keys, smallValue) })
	gets(c, s.Workers, s.Duration/2, s.Keys, nil, smallValue) // as warm as it gets
	row("get_uniform", func() sample { return gets(c, s.Workers, s.Duration, s.Keys, nil, smallValue) })
	row("get_zipf", func() sample { return gets(c, s.Workers, s.Duration, s.Keys, zipf, smallValue) })
	row("get_batched", func() sample { return batchedGets(c, s.Workers, s.Duration, s.Keys, smallValue) })
	row("set256_batched", func() sample { return batchedSets(c, s.Workers, s.Duration, s.Keys, smallValue) })
	row("latency", func() sample { return latencies(c, s.Workers, s.Duration, s.Keys, smallValue) })
	if s.wants("set256_tight") && which.budgeted {
		if c, err = which.make(int64(tight*float64(s.Keys*(keyBytes+smallValue))), int(s.Keys), smallValue); err != nil {
			return nil, err
		}
		fill(c, s.Keys, smallValue, s.Workers)
		row("set256_tight", func() sample { return held(c, s.Workers, s.Duration, s.Keys, smallValue) })
	}
	if s.wants("set4k") && which.budgeted { // one without a budget would keep 4 GiB
		if c, err = which.make(s.Budget, int(s.Keys), largeValue); err != nil {
			return nil, err
		}
		fill(c, min(s.Keys, uint64(s.Budget)/2/largeValue), largeValue, s.Workers)
		row("set4k", func() sample { return sets(c, s.Workers, s.Duration, s.Keys, largeValue) })
	}
	if s.wants("gc") && name == "cairn" && s.Large > 0 {
		const values = 4 << 30
		if c, err = which.make(s.Large, values/largeValue, largeValue); err != nil {
			return nil, err
		}
		fill(c, values/largeValue, largeValue, s.Workers)
		row("gc", func() sample { return mixed(c, s.Workers, s.Duration, values/largeValue, largeValue) })
	}
	return samples, nil
}
