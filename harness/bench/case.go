package bench

import (
	"fmt"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/load"
)

// A Case is one row of a comparison: a closed loop of one kind, or what its Plan makes.
type Case struct {
	Name        string
	About       string
	Mix         []load.Share
	Size        int // of every object, in bytes
	Connections int
	Stored      uint64  // objects there before the load
	Consumes    bool    // the load uses the stored objects up: they are put anew for each round
	Unverified  float64 // share of gets of which only the length is checked
	PerItem     bool    // the figure is of keys listed, not of requests

	// Plan, if not nil, says what a round is, instead of Mix, Size, Connections,
	// Stored, Unverified and the times that are given for all cases.
	Plan func(seed uint64, round int) Plan
	// Source is where the plan comes from, as lab bench sink takes it.
	Source string
	// Offered: the load is an open loop. Its rate says what was offered, and
	// nothing of what a server could do.
	Offered bool
}

// A Plan is one round's load. Target, Seed, Progress, Begin and End are filled in.
type Plan struct {
	Load load.Options
	// Background runs beside the load; nil: nothing does.
	Background *load.Uploads
}

// Uploads is what became of the uploads beside a load, but of those that its end broke off.
type Uploads struct{ Answered, Failed int64 }

// plan is what a round of the case is.
func (c Case) plan(seed uint64, round int, warmup, duration time.Duration) Plan {
	if c.Plan != nil {
		return c.Plan(seed, round)
	}
	if c.Consumes {
		warmup = 0 // it would use up what is to be measured
	}
	return Plan{Load: load.Options{
		Workspace: c.workspace(seed, round), Connections: c.Connections, Mix: c.Mix, Unverified: c.Unverified, Warmup: warmup, Duration: duration,
	}}
}

// once is the case with one plan for a single measurement, and that plan's
// background, which counts what it did; without one it did nothing.
func (c Case) once(seed uint64, round int) (Case, *load.Uploads) {
	if c.Plan == nil {
		return c, new(load.Uploads)
	}
	p := c.Plan(seed, round)
	c.Plan = func(uint64, int) Plan { return p }
	if p.Background == nil {
		return c, new(load.Uploads)
	}
	return c, p.Background
}

// keeps reports whether what is stored before a round serves the next one too.
func (c Case) keeps(seed uint64) bool {
	return !c.Consumes && c.plan(seed, 1, 0, time.Second).Load.Workspace.Stored.Count > 0
}

func only(op load.Op) []load.Share { return []load.Share{{Op: op, Weight: 1}} }

// Cases are all that there are. The first five are the rows of a comparison.
var Cases = []Case{
	{Name: "put4k", About: "PUT 4 KiB, 16 connections", Mix: only(load.Put), Size: 4 << 10, Connections: 16},
	{Name: "get4k", About: "GET 4 KiB, 16 connections, uniform over 10,000", Mix: only(load.Get), Size: 4 << 10, Connections: 16, Stored: 10_000},
	{Name: "put1m", About: "PUT 1 MiB, 8 connections", Mix: only(load.Put), Size: 1 << 20, Connections: 8},
	{Name: "get1m", About: "GET 1 MiB, 8 connections, uniform over 256, one in eight compared byte by byte", Mix: only(load.Get), Size: 1 << 20, Connections: 8, Stored: 256, Unverified: .875},
	{Name: "list", About: "list 100,000 keys in pages of 1,000, 1 connection", Mix: only(load.List), Size: 64, Connections: 1, Stored: 100_000, PerItem: true},
	{Name: "head4k", About: "HEAD, 16 connections, uniform over 10,000", Mix: only(load.Head), Size: 4 << 10, Connections: 16, Stored: 10_000},
	{Name: "delete", About: "DELETE of 20,000 objects of 64 bytes, 16 connections", Mix: only(load.Delete), Size: 64, Connections: 16, Stored: 20_000, Consumes: true},
	{Name: "mixed", About: "70 GET / 20 PUT / 10 DELETE of 4 KiB, 16 connections", Size: 4 << 10, Connections: 16, Stored: 10_000,
		Mix: []load.Share{{Op: load.Get, Weight: 70}, {Op: load.Put, Weight: 20}, {Op: load.Delete, Weight: 10}}},
}

// DefaultCases is how many of Cases a comparison has unless told.
const DefaultCases = 5

// Unit is what the case's figure counts.
func (c Case) Unit() string {
	if c.PerItem {
		return "keys/s"
	}
	return "op/s"
}

// CasesByName returns the named cases; all rows of a comparison for none.
func CasesByName(names []string) ([]Case, error) {
	if len(names) == 0 {
		return Cases[:DefaultCases], nil
	}
	var picked []Case
	for _, name := range names {
		c, ok := caseByName(name)
		if !ok {
			return nil, fmt.Errorf("no case %q: there are %s", name, strings.Join(caseNames(), ", "))
		}
		picked = append(picked, c)
	}
	return picked, nil
}

func caseByName(name string) (Case, bool) {
	for _, c := range Cases {
		if c.Name == name {
			return c, true
		}
	}
	return Case{}, false
}

func caseNames() (names []string) {
	for _, c := range Cases {
		names = append(names, c.Name)
	}
	return names
}

// workspace is what a case's load works on. Fresh keys of each round have
// names of their own: a put is of a new object, never an overwrite.
func (c Case) workspace(seed uint64, round int) *load.Workspace {
	return &load.Workspace{
		Bucket: "bench-" + c.Name,
		Bodies: load.NewBodies(seed, c.Size),
		Stored: load.Keys{Prefix: "o-", Count: c.Stored},
		Fresh:  load.Keys{Prefix: fmt.Sprintf("p%d-", round), Scatter: true},
	}
}
