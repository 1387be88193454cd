package probe

import (
	"runtime"
	"slices"
	"time"
)

// spinWork is one piece of fixed work: some 3 ms of arithmetic that touches no memory.
const spinWork = 4 << 20

// spin does the work and returns how long it took, and of that the CPU time. The
// sum is returned so that no compiler leaves it out.
func spin() (wall, cpu time.Duration, sum uint64) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, from := time.Now(), threadTime()
	x := uint64(start.UnixNano()) | 1
	for range spinWork {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return time.Since(start), threadTime() - from, x
}

// spins are groups of the same work, done at times spread over the probe.
type spins struct {
	groups [][]float64 // ms
	cpu    []float64   // ms
	kept   uint64
}

// group does the work n times in a row.
func (s *spins) group(n int) {
	var g []float64
	for range n {
		wall, cpu, x := spin()
		s.kept ^= x
		g, s.cpu = append(g, float64(wall)/1e6), append(s.cpu, float64(cpu)/1e6)
	}
	s.groups = append(s.groups, g)
}

// into sums the groups up.
func (s *spins) into(n *Noise) {
	var all, medians []float64
	for _, g := range s.groups {
		all = append(all, g...)
		medians = append(medians, quantile(g, .5))
	}
	n.Spins = len(all)
	n.SpinMS, n.SpinCPUMS = round(quantile(all, .5)), round(quantile(s.cpu, .5))
	if n.SpinMS == 0 {
		return
	}
	n.SpinP95Percent = round(100 * (quantile(all, .95)/quantile(all, .5) - 1))
	least, most := slices.Min(medians), slices.Max(medians)
	n.SpinDriftPercent = round(100 * (most/least - 1))
}

// quantile of unsorted values by nearest rank; 0 of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}
