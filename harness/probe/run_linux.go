package probe

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/cairnstore/cairn/engine/numa"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/system"
)

// Run measures this machine. A part that can't be measured is a warning in the
// profile; an error means that there is none.
func Run(ctx context.Context, o Options) (*Profile, error) {
	o = o.withDefaults()
	info, err := os.Stat(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("probe: directory on the drive to measure: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("probe: %s is no directory", o.Dir)
	}
	topology, err := numa.Discover()
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	about := record.New("probe", o.Dir, 0)
	root := os.DirFS("/")
	r := &run{Options: o, started: time.Now(), profile: &Profile{
		Version: Version, Name: o.Name, Measured: about.Started.Truncate(time.Second), Quick: o.Quick,
		Lab:    Lab{Commit: about.Lab.Commit, Dirty: about.Lab.Dirty, Go: about.Lab.Go},
		System: System{Kernel: about.Machine.Kernel},
		Nodes:  readNodes(topology),
		Memory: Memory{TotalBytes: about.Machine.MemoryBytes, TransparentHugePages: transparentSetting(root)},
		Disk:   Disk{FileSystem: about.Machine.FileSystem},
		Noise:  Noise{LoadBefore: about.Machine.Load1},
	}}
	var cpus []int
	for _, n := range topology.Nodes {
		cpus = append(cpus, n.CPUs...)
	}
	r.profile.CPU, r.profile.System.Virtual = readCPU(root, cpus)

	var onNodes int64
	for _, n := range r.profile.Nodes {
		onNodes += n.MemoryBytes
	}
	if total := r.profile.Memory.TotalBytes; onNodes < total*9/10 {
		r.warn("the kernel shows %s of the %s of memory on nodes", bytesOf(onNodes), bytesOf(total))
	}
	m, err := startNoise()
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	sections := []section{
		{"memory: latency and bandwidth", r.memory},
		{"checksums", func() error { r.profile.Hashes = measureHashes(r.slice / 2); return nil }},
		{"erasure codes", func() (err error) { r.profile.Erasure, err = measureErasure(r.slice); return err }},
		{"drive: sync, streams, random reads and writes", r.disk},
		{"network: loopback", func() error { return r.loopback(ctx) }},
	}
	if o.Peer != "" {
		sections = append(sections, section{"network: peer", func() error { return r.network("peer", o.Peer) }})
	}
	if err := r.sections(ctx, sections); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	r.spins.into(&r.profile.Noise)
	if err := m.into(&r.profile.Noise); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	r.profile.Noise.judge()
	if n := Priority(); n != 0 {
		r.warn("measured at nice %d: other processes gave way, or this one did", n)
	}
	if n := r.profile.Noise; n.Level != Quiet {
		r.warn("the machine was %s: steal %.1f %%, other processes %.1f %% of the CPU, the same work took up to %.0f %% longer (P95), its median moved by %.0f %%",
			n.Level, n.StealPercent, n.OthersPercent, n.SpinP95Percent, n.SpinDriftPercent)
	}
	return r.profile, nil
}

func (r *run) loopback(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l) }()
	err = r.network("loopback", l.Addr().String())
	stop()
	if e := <-served; err == nil {
		err = e
	}
	return err
}

func (r *run) network(path, address string) error {
	n, err := measureNetwork(path, address, r.slice)
	if err == nil {
		r.profile.Network = append(r.profile.Network, n)
	}
	return err
}

// noiseMeter reads what the machine and this process used.
type noiseMeter struct {
	at           time.Time
	mine         system.Sample
	busy, stolen time.Duration
}

func startNoise() (m noiseMeter, err error) {
	runtime.GC() // an old heap is no part of what is measured
	m.at = time.Now()
	if m.mine, err = system.Process(os.Getpid()); err != nil {
		return m, err
	}
	m.busy, m.stolen, err = system.CPU()
	return m, err
}

// into notes shares of all the machine's processors, of which this process may be kept
// from some.
func (m noiseMeter) into(n *Noise) error {
	cpus, err := system.CPUs()
	if err != nil {
		return err
	}
	mine, err := system.Process(os.Getpid())
	if err != nil {
		return err
	}
	busy, stolen, err := system.CPU()
	if err != nil {
		return err
	}
	elapsed := time.Since(m.at)
	all := elapsed.Seconds() * float64(cpus)
	used := mine.Since(m.mine)
	n.StealPercent = round(100 * max(0, (stolen-m.stolen).Seconds()) / all)
	n.OthersPercent = round(100 * max(0, (busy-m.busy-used.CPU()).Seconds()) / all)
	n.Involuntary = round(max(0, float64(used.Involuntary)) / elapsed.Seconds())
	return nil
}
