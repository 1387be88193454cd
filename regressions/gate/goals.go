package gate

import (
	"fmt"
	"time"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/probe"
)

// A Goal is what the product promises on a machine that qualifies.
type Goal struct {
	Name       string
	About      string
	Rate       float64       // per second, at least; 0: none
	P99        time.Duration // below
	Durability string
	Needs      Needs
}

// Needs are what a machine must have, so that missing the goal is the product's fault.
type Needs struct {
	Cores       int
	MemoryBytes int64
	SyncP50     time.Duration // of 4 KiB and its fdatasync, at most; 0: the drive plays no part
}

// smallServer is the machine of the headline.
var smallServer = Needs{Cores: headline.CacheWrites.Cores, MemoryBytes: headline.CacheWrites.MemoryBytes}

func (n Needs) withSync(p50 time.Duration) Needs {
	n.SyncP50 = p50
	return n
}

// Goals are the absolute goals.
var Goals = []Goal{
	{Name: headline.CacheWrites.Name, About: "writes of 256 bytes to the memory cache, in process, 1M uniform keys", Rate: headline.CacheWrites.Rate, P99: headline.CacheWrites.P99,
		Durability: "none: memory only, lost with the process", Needs: smallServer},
	{Name: headline.DurablePuts.Name, About: "puts of 256 bytes through the whole object layer, in process, a burst of 10 s", Rate: headline.DurablePuts.Rate, P99: headline.DurablePuts.P99,
		Durability: "fdatasync before every acknowledgement", Needs: smallServer.withSync(time.Millisecond)},
	{Name: "put-latency", About: "PUTs of 4 KiB over the wire at 70 % of the capacity, open loop, during large uploads and compaction", P99: 10 * time.Millisecond,
		Durability: "fdatasync before ack (group commit)", Needs: smallServer.withSync(time.Millisecond)},
}

// Qualifies returns why a machine cannot show what the goal asks; nothing if it can.
func (g Goal) Qualifies(m Machine) (reasons []string) {
	if m.Unlike != "" {
		reasons = append(reasons, g.Name+": "+m.Unlike)
	}
	if m.Cores < g.Needs.Cores {
		reasons = append(reasons, fmt.Sprintf("%s: %d cores; it is asked of %d", g.Name, m.Cores, g.Needs.Cores))
	}
	if !headline.Enough(m.MemoryBytes, g.Needs.MemoryBytes) {
		reasons = append(reasons, fmt.Sprintf("%s: %.1f GiB of memory; it is asked of %.0f", g.Name, float64(m.MemoryBytes)/(1<<30), float64(g.Needs.MemoryBytes)/(1<<30)))
	}
	if need := g.Needs.SyncP50; need > 0 {
		switch {
		case m.SyncP50 == 0:
			reasons = append(reasons, fmt.Sprintf("%s: it is not known how long an fdatasync takes", g.Name))
		case m.SyncP50 > need:
			reasons = append(reasons, fmt.Sprintf("%s: an fdatasync of 4 KiB takes %v in the median; it is asked where one takes %v", g.Name, m.SyncP50.Round(time.Microsecond), need))
		}
	}
	if m.Noise != "" && m.Noise != probe.Quiet {
		reasons = append(reasons, fmt.Sprintf("%s: the machine is %s; a missed goal would say nothing of the product", g.Name, m.Noise))
	}
	return reasons
}

// An attempt is one run for a goal.
type attempt struct {
	rate    float64
	p99     time.Duration
	dropped float64 // arrivals that were never sent: the latency is of a load that was not carried
	errors  float64 // requests that failed: the latency is not theirs
}

// met reports whether an attempt meets the goal, and what to say of it.
func (g Goal) met(a attempt) (bool, string) {
	says := fmt.Sprintf("P99 %v of %v", a.p99.Round(time.Microsecond), g.P99)
	if g.Rate > 0 {
		says = fmt.Sprintf("%.0f/s of %.0f/s, ", a.rate, g.Rate) + says
	}
	if a.dropped > 0 {
		says += fmt.Sprintf(", %.0f arrivals were never sent", a.dropped)
	}
	if a.errors > 0 {
		says += fmt.Sprintf(", %.0f requests failed", a.errors)
	}
	return a.p99 > 0 && a.p99 < g.P99 && a.rate >= g.Rate && a.dropped == 0 && a.errors == 0, says
}
