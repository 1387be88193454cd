package plan

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/cairnstore/cairn/harness/probe"
)

// examples are wants of three kinds of users.
var examples = []struct {
	name, want string
	layout     Layout
}{
	{"a team's artefacts", "put=200/s,64KiB; get=1000/s,64KiB; stored=2TiB,64KiB; growth=3%/month", Layout{DriveBytes: 4e12}},
	{"a busy cache of small objects", "put=3000/s,4KiB,p99<50ms; get=10000/s,4KiB,p99<50ms; stored=50GiB,4KiB", Layout{DriveBytes: 1e12, Misses: .2}},
	{"an archive", "put=20/s,1MiB; get=20/s,1MiB; stored=500TiB,1MiB; growth=2%/month", Layout{Drives: 12, DriveBytes: 16e12, Data: 8, Parity: 4}},
	{"many small requests on an archive", "put=50000/s,4KiB; get=200000/s,4KiB; stored=500TiB,1MiB; growth=2%/month", Layout{Drives: 12, DriveBytes: 16e12, Data: 8, Parity: 4, Misses: .2}},
	{"the same, where all that is stored is small", "put=50000/s,4KiB; get=200000/s,4KiB; stored=500TiB,4KiB; growth=2%/month", Layout{Drives: 12, DriveBytes: 16e12, Data: 8, Parity: 4, Misses: .2}},
}

// Requirements writes docs/HARDWARE_REQUIREMENTS.md.
func Requirements(out io.Writer, p *probe.Profile, m *Model) error {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("# Hardware requirements\n")
	say("Made by `lab plan requirements` from measurements; change those and make it anew, do not edit it.\n")
	say("- machine: profile `%s`, %s with %d threads and %s of memory, %s; measured %s, the machine was %s", p.Name, p.CPU.Model, p.CPU.Threads, amount(float64(p.Memory.TotalBytes), "bytes"), p.Disk.FileSystem, p.Measured.Format("2006-01-02"), p.Noise.Level)
	say("- server: model `%s`, %d runs of %s, %s; calibrated %s, the profile's machine, load and server on the same processors", m.Name, len(m.Points), m.Target, m.Durability, m.Made.Format("2006-01-02"))
	if p.Noise.Level != probe.Quiet || len(m.Warnings) > 0 {
		say("\n**The machine was not quiet.** The figures below are lower, and less sure, than what it can do.")
		for _, w := range m.Warnings {
			say("- %s", w)
		}
	}
	say("\n## At least\n")
	say("- Linux on x86-64 or arm64. One directory on a local file system with `fallocate`; with `O_DIRECT` writes are faster and steadier (ext4 and XFS have both). Network file systems are not supported.")
	say("- A drive whose `fdatasync` tells the truth: every acknowledged write waits for one.")
	say("- Memory: 2 GiB, and %d MiB for each million objects that must be found fast (their index).", int(math.Round(bytesPerObject*1e6/(1<<20))))
	say("- Space: what is stored, and %.0f %% more: the planner fills drives to %.0f %%, and new data is refused before one is full.", 100*(1/defaultFill-1), 100*defaultFill)

	say("\n## What one machine of this kind carries\n")
	say("The peak is of a closed loop. The limit is where the planner stops: 70 %% of the peak, or less where the P99 has its knee. Ranges are of 90 of 100 bootstrap replicates.\n")
	say("| operation | peak per second | planned limit per second | P99 there | P99 alone | server CPU a request | written to the drive a request |")
	say("|---|---|---|---|---|---|---|")
	for _, f := range m.Fits {
		limit := min(.7, f.P99.Knee())
		e, err := m.predictor.Predict(Load{Puts: share(f.Op), Size: f.Size, Connections: openConnections, Offered: limit * f.PeakPerS})
		if err != nil {
			return err
		}
		say("| %s %s | %s | %s | %s (%s–%s) | %s | %.0f µs | %s |", strings.ToUpper(f.Op), sizeName(f.Size), thousands(f.PeakPerS), thousands(limit*f.PeakPerS),
			us(e.P99US.Value), us(e.P99US.Low), us(e.P99US.High), us(f.P99.At(0)), f.ServerUS, amount(f.Written, "bytes"))
	}

	say("\n## The drive\n")
	say("A PUT waits for one `fdatasync`; all PUTs that come meanwhile share the next one. A drive's `fdatasync` is the floor of a PUT's latency, and not of the throughput.\n")
	say("| write, then fdatasync | P50 | P99 | MB/s |\n|---|---|---|---|")
	for _, f := range p.Disk.Fdatasync {
		direct := ""
		if f.Direct {
			direct = ", O_DIRECT"
		}
		say("| %s, %s file%s | %s | %s | %.0f |", sizeName(f.WriteBytes), f.File, direct, us(f.P50US), us(f.P99US), f.MBPerS)
	}
	say("\nStore segments are recycled files. A consumer drive without power-loss protection often needs 1 to 10 ms for an `fdatasync`: `lab probe` tells.\n")
	say("| random reads of 4 KiB, queue depth | per second | P99 |\n|---|---|---|")
	for _, r := range p.Disk.Random {
		say("| %d | %s | %s |", r.QueueDepth, thousands(r.PerS), us(r.P99US))
	}
	for _, s := range p.Disk.Sequential {
		say("\nSequential %s: %s.", s.Operation, amount(s.MBPerS*1e6, "bytes/s"))
	}

	say("\n## Processors\n")
	say("Every PUT pays an MD5 for its ETag, and a SHA-256 where the client signs the payload.\n")
	say("| one thread | 4 KiB | 1 MiB |\n|---|---|---|")
	blocks := map[string][2]float64{}
	var names []string
	for _, h := range p.Hashes {
		if _, ok := blocks[h.Name]; !ok {
			names = append(names, h.Name)
		}
		v := blocks[h.Name]
		if h.BlockBytes == 4096 {
			v[0] = h.BlockUS
		} else {
			v[1] = h.BlockUS
		}
		blocks[h.Name] = v
	}
	for _, n := range names {
		say("| %s | %.3g µs | %.3g µs |", n, blocks[n][0], blocks[n][1])
	}
	for _, e := range p.Erasure {
		if e.Data == 8 {
			say("\nReed-Solomon %d+%d on one thread: %.3g GB/s of data. Erasure coding is not in the server yet.", e.Data, e.Parity, e.EncodeGBPerS)
		}
	}
	say("\n## Memory\n")
	say("| dependent loads over | pages | threads | ns a load |\n|---|---|---|---|")
	for _, l := range p.Memory.Latency {
		say("| %s | %s | %d | %.3g |", sizeName(int(l.WorkingSetBytes)), l.Pages, l.Threads, l.LoadNS)
	}
	say("\nA cache of many small objects is a walk through memory: `cairn hardware` says how to get huge pages.")

	say("\n## Examples\n")
	say("Nodes like the measured machine, with the drives named and 10 Gbit/s. A larger machine carries more; how much was not measured: probe it, calibrate on it, and plan with that.\n")
	say("| what | want | nodes | drives | first bottleneck | rebuild of a lost drive |\n|---|---|---|---|---|---|")
	for _, e := range examples {
		w, err := Parse(e.want)
		if err != nil {
			return err
		}
		made, err := Make(w, p, m, e.layout.WithDefaults())
		if err != nil {
			say("| %s | `%s` | – | – | %v | – |", e.name, e.want, err)
			continue
		}
		rebuild := "one copy: none"
		if made.LostDrive != nil {
			rebuild = rebuildText(*made.LostDrive)
		}
		say("| %s | `%s` | %s | %d of %s | %s | %s |", e.name, e.want, spread(made.Nodes), made.Drives, amount(made.Layout.DriveBytes, "bytes"), made.Bottleneck, rebuild)
	}
	say("\nToday's Cairn is one server on one drive. Where an example has several, the figures are arithmetic on what one carries, with objects spread by the clients.")

	say("\n## How far to believe it\n")
	if len(m.Checks) == 0 {
		say("The model was never checked.")
	} else {
		c := m.Checks[len(m.Checks)-1]
		rate, p99, rates, p99s := c.Errors()
		say("Loads that the model was not fitted to, foretold and then run (%s, `%s`). The median error of the throughput of %d closed loops was **%.1f %%** (goal %d %%), that of the P99 of %d loads below the knee **%.1f %%** (goal %d %%).\n",
			c.Made.Format("2006-01-02"), c.Record, rates, rate, RateGoal, p99s, p99, P99Goal)
		for _, w := range c.Warnings {
			say("- %s", w)
		}
		say("\n| load | new is the | foretold per second | measured | error | foretold P99 | measured | error | |\n|---|---|---|---|---|---|---|---|---|")
		for _, r := range c.Rows {
			knee := ""
			if !r.BelowKnee {
				knee = "beyond the knee"
			}
			say("| %v | %s | %s (%s–%s) | %s | %.0f %% | %s (%s–%s) | %s | %.0f %% | %s |", r.Load, r.Why, thousands(r.Rate.Value), thousands(r.Rate.Low), thousands(r.Rate.High), thousands(r.GotRate), r.RateError(),
				us(r.P99US.Value), us(r.P99US.Low), us(r.P99US.High), us(r.GotP99US), r.P99Error(), knee)
		}
	}
	say("\nMeasure your own:\n\n```sh\nlab probe --name mine --out mine.yaml\nlab plan calibrate --profile mine.yaml --model mine-model.yaml\nlab plan check --profile mine.yaml --model mine-model.yaml\nlab plan --profile mine.yaml --model mine-model.yaml --want 'put=5000/s,4KiB,p99<20ms; stored=10TiB'\n```")
	_, err := io.WriteString(out, b.String())
	return err
}

func share(op string) float64 {
	if op == "put" {
		return 1
	}
	return 0
}

// thousands prints a whole number in groups.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
