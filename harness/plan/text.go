package plan

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Write prints the plan, and the checks of its model.
func (p *Plan) Write(out io.Writer, m *Model) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	say("want: %v", p.Want)
	say("each node: as profile %s, %d drives of %s, %g Gbit/s; %d+%d shards, drives filled to %.0f %%, %.0f %% of everything kept free, %g months",
		p.Profile, p.Layout.Drives, amount(p.Layout.DriveBytes, "bytes"), p.Layout.NetworkGbps, p.Layout.Data, p.Layout.Parity, 100*p.Layout.Fill, 100*p.Layout.Headroom, p.Layout.Months)
	say("")
	n := max(1, p.Nodes.Value)
	say("nodes\t%s", spread(p.Nodes))
	say("drives\t%d of %s", p.Drives, amount(p.Layout.DriveBytes, "bytes"))
	say("threads\t%d (%.0f a node)", p.Threads, float64(p.Threads)/n)
	say("memory\t%s (%s a node)", amount(p.Memory, "bytes"), amount(p.Memory/n, "bytes"))
	say("network\t%g Gbit/s a node", p.Layout.NetworkGbps)
	say("first bottleneck\t%s; the load may grow by %.0f %% until more nodes are needed", p.Bottleneck, 100*p.Headroom)
	for _, l := range p.Latencies {
		limit := ""
		if l.Within > 0 {
			limit = fmt.Sprintf("; the limit is kept up to %.0f %%", 100*l.Within)
		}
		say("P99 of %s\t%s (%s–%s); knee at %.0f %% of the peak%s", l.Op, us(l.P99US.Value), us(l.P99US.Low), us(l.P99US.High), 100*l.Knee, limit)
	}
	if p.LostDrive != nil {
		say("rebuild of a lost drive\t%s", rebuildText(*p.LostDrive))
		say("rebuild of a lost node\t%s", rebuildText(*p.LostNode))
	}
	if c := p.Cost; c != nil {
		say("cost\t%.0f %s once, %.0f %s a month", c.Once, c.Currency, c.Month, c.Currency)
	}
	say("")
	say("resource\tneeded by all\tof a node\tused\tnodes for it alone")
	for _, r := range p.Resources {
		say("%s\t%s\t%s\t%.0f %%\t%s (%s–%s)", r.Name, amount(r.Demand.Value, r.Unit), amount(r.Node, r.Unit), 100*r.Used, digits(r.Nodes.Value), digits(r.Nodes.Low), digits(r.Nodes.High))
	}
	say("")
	for _, a := range p.Assumptions {
		say("assumed: %s", a)
	}
	for _, warning := range p.Warnings {
		say("warning: %s", warning)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(m.Checks) == 0 {
		return nil
	}
	last := m.Checks[len(m.Checks)-1]
	if _, err := fmt.Fprintf(out, "\nHow well model %s foretold loads that it had not seen (%s, record %s):\n", m.Name, last.Made.Format("2006-01-02"), last.Record); err != nil {
		return err
	}
	return last.WriteText(out)
}

func spread(e Estimate) string {
	if e.Low == e.High {
		return fmt.Sprintf("%.0f", e.Value)
	}
	return fmt.Sprintf("%.0f (%.0f to %.0f)", e.Value, e.Low, e.High)
}

// digits prints a figure, whole where it is large.
func digits(v float64) string {
	if v >= 100 {
		return thousands(v)
	}
	return fmt.Sprintf("%.2g", v)
}

// amount prints a figure with its unit, bytes in the unit that suits them.
func amount(v float64, unit string) string {
	if unit != "bytes" && unit != "bytes/s" {
		return digits(v) + " " + unit
	}
	per := unit[len("bytes"):]
	for _, u := range []struct {
		name string
		size float64
	}{{"PB", 1e15}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if v >= u.size {
			return fmt.Sprintf("%.3g %s%s", v/u.size, u.name, per)
		}
	}
	return fmt.Sprintf("%.3g B%s", v, per)
}
