package report

import (
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/harness/probe"
)

// machineView is a hardware profile as pairs of words.
type machineView struct {
	Title, Noise string
	Facts        [][2]string
	Warnings     []string
}

func newMachineView(p *probe.Profile) *machineView {
	v := &machineView{Title: fmt.Sprintf("%d threads of %s, %s of memory", p.CPU.Threads, p.CPU.Model, Bytes(p.Memory.TotalBytes)), Noise: p.Noise.Level, Warnings: p.Warnings}
	add := func(what, format string, args ...any) {
		v.Facts = append(v.Facts, [2]string{what, fmt.Sprintf(format, args...)})
	}
	quick := ""
	if p.Quick {
		quick = " (quick)"
	}
	add("measured", "%s%s", p.Measured.Format("2 Jan 2006 15:04 MST"), quick)
	add("system", "%s, %s", p.System.Kernel, p.Disk.FileSystem)
	add("noise", "%s: steal %.1f %%, others %.1f %%, same work up to %.0f %% longer (P95)", p.Noise.Level, p.Noise.StealPercent, p.Noise.OthersPercent, p.Noise.SpinP95Percent)
	for _, f := range p.Disk.Fdatasync {
		if f.WriteBytes == 4096 {
			direct := ""
			if f.Direct {
				direct = ", O_DIRECT"
			}
			add("fdatasync after 4 KiB, "+f.File+" file"+direct, "P50 %s µs, P99 %s µs", Count(f.P50US), Count(f.P99US))
		}
	}
	for _, s := range p.Disk.Sequential {
		add("drive, sequential "+s.Operation, "%s MB/s", Count(s.MBPerS))
	}
	if n := len(p.Disk.Random); n > 0 {
		first, last := p.Disk.Random[0], p.Disk.Random[n-1]
		add("random reads of 4 KiB", "%s/s at depth %d, %s/s at depth %d", Count(first.PerS), first.QueueDepth, Count(last.PerS), last.QueueDepth)
	}
	if n := len(p.Disk.RandomWrite); n > 0 {
		first, last := p.Disk.RandomWrite[0], p.Disk.RandomWrite[n-1]
		add("random durable writes of 4 KiB", "%s/s at depth %d, %s/s at depth %d", Count(first.PerS), first.QueueDepth, Count(last.PerS), last.QueueDepth)
	}
	for _, l := range p.Memory.Latency {
		if l.Threads == 1 && l.WorkingSetBytes >= 64<<20 {
			add("memory, dependent load, "+l.Pages+" pages", "%s ns over %s", Count(l.LoadNS), Bytes(l.WorkingSetBytes))
		}
	}
	for _, b := range p.Memory.Bandwidth {
		if b.Operation == "copy" {
			add(fmt.Sprintf("memory, copy, threads: %d", b.Threads), "%s GB/s", Count(b.GBPerS))
		}
	}
	var sums []string
	for _, h := range p.Hashes {
		if h.BlockBytes == 4096 {
			sums = append(sums, fmt.Sprintf("%s %s", h.Name, Count(h.GBPerS)))
		}
	}
	add("checksums of 4 KiB, GB/s", "%s", strings.Join(sums, ", "))
	for _, e := range p.Erasure {
		if e.Data == 8 {
			add(fmt.Sprintf("Reed-Solomon %d+%d, one thread", e.Data, e.Parity), "%s GB/s encode, %s GB/s reconstruct", Count(e.EncodeGBPerS), Count(e.ReconstructGBPer))
		}
	}
	for _, n := range p.Network {
		for _, r := range n.RoundTrips {
			add(fmt.Sprintf("%s, round trips, connections: %d", n.Path, r.Connections), "%s/s, P99 %s µs", Count(r.PerS), Count(r.P99US))
		}
	}
	return v
}
