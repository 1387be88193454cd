package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

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
			return append(slices.Clone(before), "--address", address, "--case", c.Name, "--seed", strconv.FormatUint(seed, 10)), nil
		},
	}
}

// SinkAnswers are the bodies that verify as a case's: that of its first object,
// and a whole listing in one page.
func SinkAnswers(c Case, seed uint64) sink.Answers {
	c = againstSink(c)
	ws := c.workspace(seed, 0)
	body := ws.Bodies.NewBody()
	body.Set(0, 0)
	var page bytes.Buffer
	page.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>`)
	for id := range c.Stored {
		fmt.Fprintf(&page, `<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&#34;%032x&#34;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>`,
			ws.Stored.Name(id), id, c.Size)
	}
	page.WriteString(`</ListBucketResult>`)
	return sink.Answers{Object: slices.Concat(body.Prefix, body.Tail), Page: page.Bytes()}
}

// againstSink shrinks a case to what a sink can answer for: one object, since
// every answer is the same, or one page of a listing.
func againstSink(c Case) Case {
	switch {
	case c.PerItem:
		c.Stored = 1000
	case c.Consumes: // any number of deletes
		c.Stored = 1 << 62
	case c.Stored > 0:
		c.Stored = 1
	}
	return c
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
			Server: server, Dir: o.Dir, Case: againstSink(c), Round: 1, Seed: o.Seed, Warmup: o.Warmup, Duration: o.Duration, Lines: o.Lines,
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
