package probe

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Write prints the profile for people.
func (p *Profile) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	part := func(format string, args ...any) { _, _ = fmt.Fprintf(w, "\n"+format+"\n", args...) }
	row := func(cells ...any) {
		var words []string
		for _, c := range cells {
			words = append(words, fmt.Sprint(c))
		}
		_, _ = fmt.Fprintln(w, "  "+strings.Join(words, "\t"))
	}
	virtual := ""
	if p.System.Virtual {
		virtual = ", virtual"
	}
	_, _ = fmt.Fprintf(w, "%s: %d threads (%d cores, %d sockets), %s, %s%s\n", p.CPU.Model, p.CPU.Threads, p.CPU.Cores, p.CPU.Sockets, bytesOf(p.Memory.TotalBytes), p.System.Kernel, virtual)
	quick := ""
	if p.Quick {
		quick = ", quick"
	}
	_, _ = fmt.Fprintf(w, "measured %s%s by %s; the machine was %s: steal %.1f %%, others %.1f %%, the same work up to %.0f %% longer (P95)\n",
		p.Measured.Format(time.RFC3339), quick, p.Lab.Commit, p.Noise.Level, p.Noise.StealPercent, p.Noise.OthersPercent, p.Noise.SpinP95Percent)
	_, _ = fmt.Fprintf(w, "features: %s\n", strings.Join(p.CPU.Features, " "))
	for _, c := range p.CPU.Caches {
		_, _ = fmt.Fprintf(w, "L%d %s: %d KiB, shared by %d\n", c.Level, c.Type, c.SizeKiB, c.Threads)
	}
	for _, n := range p.Nodes {
		_, _ = fmt.Fprintf(w, "node %d: CPUs %s, %s", n.ID, n.CPUs, bytesOf(n.MemoryBytes))
		for _, h := range n.HugePages {
			_, _ = fmt.Fprintf(w, "; %d of %d pages of %s free", h.Free, h.Total, bytesOf(h.PageBytes))
		}
		_, _ = fmt.Fprintln(w)
	}

	part("memory, dependent loads (transparent huge pages: %s)", p.Memory.TransparentHugePages)
	row("working set", "pages", "threads", "ns a load", "M loads/s")
	for _, l := range p.Memory.Latency {
		row(bytesOf(l.WorkingSetBytes), l.Pages, l.Threads, l.LoadNS, l.MLoadsPerS)
	}
	part("memory, bandwidth")
	row("operation", "threads", "GB/s")
	for _, b := range p.Memory.Bandwidth {
		row(b.Operation, b.Threads, b.GBPerS)
	}
	part("checksums, one thread")
	row("name", "block", "GB/s", "µs a block")
	for _, h := range p.Hashes {
		row(h.Name, bytesOf(int64(h.BlockBytes)), h.GBPerS, h.BlockUS)
	}
	part("Reed-Solomon, one thread, GB/s of data")
	row("code", "encode", "reconstruct")
	for _, e := range p.Erasure {
		row(fmt.Sprintf("%d+%d", e.Data, e.Parity), e.EncodeGBPerS, e.ReconstructGBPer)
	}
	part("drive: %s, %s of %s free", p.Disk.FileSystem, bytesOf(p.Disk.FreeBytes), bytesOf(p.Disk.TotalBytes))
	row("write + fdatasync", "bytes", "P50 µs", "P99 µs", "MB/s", "samples")
	for _, s := range p.Disk.Fdatasync {
		row(s.File+past(s.Direct), bytesOf(int64(s.WriteBytes)), s.P50US, s.P99US, s.MBPerS, s.Samples)
	}
	part("drive, streams of 1 MiB")
	row("operation", "MB/s")
	for _, s := range p.Disk.Sequential {
		row(s.Operation+past(s.Direct), s.MBPerS)
	}
	part("drive, random reads over %s", bytesOf(p.Disk.FileBytes))
	row("queue depth", "block", "reads/s", "P50 µs", "P99 µs")
	for _, r := range p.Disk.Random {
		row(fmt.Sprint(r.QueueDepth)+past(r.Direct), bytesOf(int64(r.BlockBytes)), r.PerS, r.P50US, r.P99US)
	}
	if len(p.Disk.RandomWrite) > 0 {
		part("drive, random writes over %s, each with a fdatasync", bytesOf(p.Disk.FileBytes))
		row("queue depth", "block", "durable writes/s", "P50 µs", "P99 µs")
		for _, w := range p.Disk.RandomWrite {
			row(fmt.Sprint(w.QueueDepth)+past(w.Direct), bytesOf(int64(w.BlockBytes)), w.PerS, w.P50US, w.P99US)
		}
	}
	if len(p.Disk.Queued) > 0 {
		part("drive, streams at queue depths (O_DIRECT)")
		row("operation", "queue depth", "block", "MB/s", "P50 µs", "P99 µs")
		for _, q := range p.Disk.Queued {
			row(q.Operation, q.QueueDepth, bytesOf(int64(q.BlockBytes)), q.MBPerS, q.P50US, q.P99US)
		}
	}
	for _, n := range p.Network {
		part("network: %s, connect %v µs", n.Path, n.ConnectP50US)
		row("round trips, connections", "per s", "P50 µs", "P99 µs")
		for _, r := range n.RoundTrips {
			row(r.Connections, r.PerS, r.P50US, r.P99US)
		}
		row("streams, connections", "direction", "GB/s")
		for _, s := range n.Streams {
			row(s.Connections, s.Direction, s.GBPerS)
		}
	}
	for _, warning := range p.Warnings {
		_, _ = fmt.Fprintf(w, "\nwarning: %s\n", warning)
	}
	return w.Flush()
}

func past(direct bool) string {
	if direct {
		return " (O_DIRECT)"
	}
	return ""
}

// bytesOf prints a size in the largest unit that leaves no more than one decimal.
func bytesOf(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.size)), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d B", n)
}
