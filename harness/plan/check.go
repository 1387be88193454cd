package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/cairnstore/cairn/harness/record"
)

// heldOut is a load that no calibration has.
type heldOut struct {
	Load
	why   string
	share float64 // of the predicted capacity, for open loops
}

// heldOutLoads are other concurrencies, other sizes, mixes, and rates of those.
func heldOutLoads() (all []heldOut) {
	closed := func(why string, puts float64, size int, ns ...int) {
		for _, n := range ns {
			all = append(all, heldOut{Load{Puts: puts, Size: size, Connections: n}, why, 0})
		}
	}
	open := func(why string, puts float64, size int, shares ...float64) {
		for _, s := range shares {
			all = append(all, heldOut{Load{Puts: puts, Size: size, Connections: openConnections}, why, s})
		}
	}
	closed("concurrency", 1, 4<<10, 3, 12, 48)
	open("rate", 1, 4<<10, .3, .5, .65)
	closed("concurrency", 0, 4<<10, 3, 12, 48)
	open("rate", 0, 4<<10, .3, .5, .65)
	closed("size", 1, 16<<10, 4, 16)
	open("size", 1, 16<<10, .5)
	closed("size", 0, 32<<10, 4, 16)
	open("size", 0, 32<<10, .5)
	closed("mix", .3, 4<<10, 2, 8, 32)
	open("mix", .3, 4<<10, .3, .5, .65)
	closed("mix and size", .5, 16<<10, 8)
	return all
}

// CheckModel runs loads that the model was not fitted to, and compares. The
// check is added to the model, with a record whose file the caller names.
func CheckModel(ctx context.Context, m *Model, o Options) (*Check, *record.Record, error) {
	if o.Profile == nil || o.Rounds < 1 || o.Duration <= 0 {
		return nil, nil, errors.New("check: needs a profile, a round and a duration")
	}
	s, err := newSession(o, "check")
	if err != nil {
		return nil, nil, fmt.Errorf("check: %w", err)
	}
	c := &Check{Made: s.rec.Started.Truncate(time.Second)}
	err = s.check(ctx, m, c)
	if err = errors.Join(err, os.RemoveAll(s.dir)); err != nil {
		return nil, s.finish(), fmt.Errorf("check: %w", err)
	}
	rec := s.finish()
	c.Warnings = rec.Warnings
	rate, p99, rates, p99s := c.Errors()
	s.add("plan.check.rate_error", rate, "%")
	s.add("plan.check.p99_error", p99, "%")
	rec.Verdict = c.verdict(rate, p99, rates, p99s)
	m.Checks = append(m.Checks, *c)
	return c, rec, nil
}

// check runs the held-out loads, those of one kind after the other on one server.
func (s *session) check(ctx context.Context, m *Model, c *Check) error {
	type key struct {
		puts float64
		size int
	}
	var order []key
	groups := map[key][]heldOut{}
	held := s.held
	if held == nil {
		held = heldOutLoads()
	}
	for _, h := range held {
		k := key{h.Puts, h.Size}
		if _, ok := groups[k]; !ok {
			order = append(order, k)
		}
		groups[k] = append(groups[k], h)
	}
	got := map[string][]Point{}
	rows := map[string]Row{}
	var names []string
	for round := 1; round <= s.Rounds; round++ {
		for _, k := range order {
			err := s.serve(ctx, k.size, k.puts < 1, round, func(run func(Load) (Point, error)) error {
				for _, h := range groups[k] {
					row, err := m.row(h)
					if err != nil {
						return err
					}
					p, err := run(row.Load)
					if err != nil {
						return err
					}
					name := row.Load.String()
					if !slices.Contains(names, name) {
						names = append(names, name)
					}
					rows[name], got[name] = row, append(got[name], p)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		row := rows[name]
		var rates, p99s []float64
		for _, p := range got[name] {
			rates, p99s = append(rates, p.Rate), append(p99s, p.P99US)
			row.OthersPct = max(row.OthersPct, p.OthersPct)
		}
		row.GotRate, row.GotP99US = median(rates), median(p99s)
		c.Rows = append(c.Rows, row)
	}
	return nil
}

// row is a load's prediction, made before it is run.
func (m *Model) row(h heldOut) (Row, error) {
	if h.share > 0 {
		capacity, err := m.predictor.capacity(h.Load)
		if err != nil {
			return Row{}, err
		}
		h.Offered = math.Round(h.share * capacity)
	}
	p, err := m.predictor.Predict(h.Load)
	if err != nil {
		return Row{}, err
	}
	return Row{Load: h.Load, Why: h.why, BelowKnee: p.BelowKnee, Rate: p.Rate, P99US: p.P99US}, nil
}

// capacity is the highest rate of a load's mix and size.
func (p *Predictor) capacity(l Load) (float64, error) {
	parts, err := partsOf(p.fits, l)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, s := range parts {
		sum += s.weight / s.PeakPerS
	}
	return 1 / sum, nil
}

// verdict says what was reached. A check on a busy machine can't tell.
func (c *Check) verdict(rate, p99 float64, rates, p99s int) *record.Verdict {
	v := &record.Verdict{Outcome: record.Pass}
	say := func(format string, args ...any) { v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...)) }
	say("median error of the throughput of %d closed loops: %.1f %%, goal %d %%", rates, rate, RateGoal)
	say("median error of the P99 of %d loads below the knee: %.1f %%, goal %d %%", p99s, p99, P99Goal)
	if rate > RateGoal || p99 > P99Goal {
		v.Outcome = record.Fail
	}
	if rates == 0 || p99s == 0 {
		v.Outcome = record.CannotTell
		say("one of the two has no load to be judged by")
	}
	busy := 0
	for _, r := range c.Rows {
		if r.OthersPct > noisyPercent {
			busy++
		}
	}
	if busy > len(c.Rows)/4 {
		v.Outcome = record.CannotTell
		say("in %d of %d loads other processes took more than %d %% of the machine: the errors are theirs too", busy, len(c.Rows), noisyPercent)
	}
	return v
}

// WriteText prints predicted beside measured.
func (c Check) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "held-out load\tnew is the\tpredicted/s (90 %)\tmeasured/s\terror\tpredicted P99 (90 %)\tmeasured P99\terror\t")
	for _, r := range c.Rows {
		knee := ""
		if !r.BelowKnee {
			knee = "beyond the knee"
		}
		_, _ = fmt.Fprintf(w, "%v\t%s\t%.0f (%.0f–%.0f)\t%.0f\t%.0f %%\t%s (%s–%s)\t%s\t%.0f %%\t%s\n", r.Load, r.Why,
			r.Rate.Value, r.Rate.Low, r.Rate.High, r.GotRate, r.RateError(), us(r.P99US.Value), us(r.P99US.Low), us(r.P99US.High), us(r.GotP99US), r.P99Error(), knee)
	}
	rate, p99, rates, p99s := c.Errors()
	_, _ = fmt.Fprintf(w, "median error of the throughput (%d closed loops): %.1f %%, goal %d %%; of the P99 (%d loads below the knee): %.1f %%, goal %d %%\n", rates, rate, RateGoal, p99s, p99, P99Goal)
	for _, warning := range c.Warnings {
		_, _ = fmt.Fprintln(w, "warning:", warning)
	}
	return w.Flush()
}

// us prints µs.
func us(v float64) string {
	switch {
	case math.IsInf(v, 0) || math.IsNaN(v):
		return "no bound"
	case v < 1000:
		return fmt.Sprintf("%.0f µs", v)
	case v < 1e6:
		return fmt.Sprintf("%.3g ms", v/1e3)
	}
	return fmt.Sprintf("%.3g s", v/1e6)
}
