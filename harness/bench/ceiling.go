package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/sink"
	"github.com/cairnstore/cairn/harness/target"
)

// sinkDurability is printed beside a sink's numbers.
const sinkDurability = "nothing is stored"

// Sink describes the empty server that lab bench sink runs, for one case. The
// binary is the lab's own; tests give other arguments before the command's.
func Sink(binary string, seed uint64, c Case, before ...string) target.Server {
	if len(before) == 0 {
		before = []string{"bench", "sink"}
	}
	return target.Server{
		Name: "sink", Binary: binary, Durability: sinkDurability,
		Command: func(_, address string, _ target.Credentials) (args, env []string) {
			what, name := "--case", c.Name
			if c.Plan != nil {
				what, name = "--scenario", c.Source
			}
			return append(slices.Clone(before), "--address", address, what, name, "--seed", strconv.FormatUint(seed, 10)), nil
		},
	}
}

// SinkAnswers are the bodies that verify as a case's: that of its first object,
// and a whole listing in one page.
func SinkAnswers(c Case, seed uint64) sink.Answers {
	c = AgainstSink(c)
	ws := c.plan(seed, 0, 0, 0).Load.Workspace
	body := ws.Bodies.NewBody()
	body.Set(0, 0)
	var page bytes.Buffer
	page.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>`)
	for id := range min(ws.Stored.Count, onePage) {
		fmt.Fprintf(&page, `<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&#34;%032x&#34;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>`,
			ws.Stored.Name(id), id, body.Size())
	}
	page.WriteString(`</ListBucketResult>`)
	return sink.Answers{Object: slices.Concat(body.Prefix, body.Tail), Page: page.Bytes()}
}

// AgainstSink shrinks a case to what a sink can answer for: one object, since
// every answer is the same, or one page of a listing.
func AgainstSink(c Case) Case {
	switch {
	case c.Plan != nil:
		plan := c.Plan
		c.Plan = func(seed uint64, round int) Plan { return plan(seed, round).againstSink() }
	case c.PerItem:
		c.Stored = onePage
	case c.Consumes: // any number of deletes
		c.Stored = 1 << 62
	case c.Stored > 0:
		c.Stored = 1
	}
	return c
}

// onePage is how many keys a sink lists.
const onePage = 1000

// againstSink does the same with a plan.
func (p Plan) againstSink() Plan {
	ws := p.Load.Workspace
	ws.Choice = load.Choice{}
	ws.Stored.Count = min(ws.Stored.Count, 1)
	if p.weight(load.List) > 0 {
		ws.Stored.Count = onePage
	}
	p.Background = nil
	p.Load.Warmup, p.Load.Duration = min(p.Load.Warmup, time.Second), min(p.Load.Duration, ceilingTime)
	return p
}

func (p Plan) weight(ops ...load.Op) (n int) {
	for _, s := range p.Load.Mix {
		if slices.Contains(ops, s.Op) {
			n += s.Weight
		}
	}
	return n
}

// sinkable: an empty server's answers can pass for those that the case wants.
func sinkable(c Case) bool {
	if c.Plan == nil {
		return true
	}
	p := c.Plan(0, 0)
	lists, reads := p.weight(load.List), p.weight(load.Get)
	deletesStored := p.weight(load.Delete) > 0 && p.weight(load.Put) == 0
	return !c.Offered && p.weight(load.MultipartUpload) == 0 && (lists == 0 || reads == 0) && !deletesStored
}

// A CeilingOptions says how to find the generator's own ceiling.
type CeilingOptions struct {
	Sink             func(Case) target.Server
	Cases            []Case
	Dir              string // for logs
	Warmup, Duration time.Duration
	Seed             uint64
	Lines            io.Writer
}

// Ceiling measures the generator against an empty server, case by case, and
// adds the runs to rec.
func Ceiling(ctx context.Context, rec *record.Record, o CeilingOptions) error {
	for i, c := range o.Cases {
		server := o.Sink(c)
		if i == 0 {
			rec.Targets = append(rec.Targets, record.Target{Name: server.Name, Version: server.Version(), Durability: server.Durability})
		}
		announce(o.Lines, "%s on %s (the generator's ceiling)", c.Name, server.Name)
		run, err := Segment{
			Server: server, Dir: o.Dir, Case: AgainstSink(c), Round: 1, Seed: o.Seed, Warmup: o.Warmup, Duration: o.Duration, Lines: o.Lines,
		}.Measure(ctx)
		if err != nil {
			return fmt.Errorf("ceiling: %w", err)
		}
		rec.Runs = append(rec.Runs, run)
	}
	return nil
}

func announce(w io.Writer, format string, args ...any) {
	if w != nil {
		fmt.Fprintf(w, "— "+format+"\n", args...)
	}
}
