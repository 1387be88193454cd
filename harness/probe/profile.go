package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"
)

// Version is the version of Profile that is written. Older ones stay readable:
// 1 had neither random writes nor streams at queue depths, and its random reads
// had fewer under way than their queue depth says where CPUs were few.
const Version = 2

// maxFile bounds a profile's file. One of a machine of eight nodes has 20 KiB.
const maxFile = 1 << 20

// A Profile is what one machine can do, without its name. A part that was not
// measured is empty, and Warnings say why.
type Profile struct {
	Version  int       `yaml:"version"`
	Name     string    `yaml:"name,omitempty"`
	Measured time.Time `yaml:"measured"`
	// Quick: measured with few samples.
	Quick  bool   `yaml:"quick"`
	Lab    Lab    `yaml:"lab"`
	System System `yaml:"system"`

	CPU     CPU       `yaml:"cpu"`
	Nodes   []Node    `yaml:"nodes"`
	Memory  Memory    `yaml:"memory"`
	Hashes  []Hash    `yaml:"hashes"`
	Erasure []Erasure `yaml:"erasure"`
	Disk    Disk      `yaml:"disk"`
	Network []Network `yaml:"network"`

	Noise    Noise    `yaml:"noise"`
	Warnings []string `yaml:"warnings,omitempty"`
}

// Lab is what measured.
type Lab struct {
	Commit string `yaml:"commit"`
	Dirty  bool   `yaml:"dirty"`
	Go     string `yaml:"go"`
}

// System is what runs on the machine.
type System struct {
	Kernel  string `yaml:"kernel"`
	Virtual bool   `yaml:"virtual"` // under a hypervisor
}

// CPU is all processors that this process may use.
type CPU struct {
	Model    string   `yaml:"model"`
	Sockets  int      `yaml:"sockets"`
	Cores    int      `yaml:"cores"`
	Threads  int      `yaml:"threads"`
	Caches   []Cache  `yaml:"caches"`   // of the first CPU
	Features []string `yaml:"features"` // of those that hashing, erasure coding and look-ups can use
}

// Cache is one of a CPU's caches.
type Cache struct {
	Level   int    `yaml:"level"`
	Type    string `yaml:"type"` // data, instruction or unified
	SizeKiB int64  `yaml:"size_kib"`
	Threads int    `yaml:"shared_by_threads"`
}

// Node is one node of memory.
type Node struct {
	ID          int        `yaml:"id"`
	CPUs        string     `yaml:"cpus"` // as 0-3,8
	MemoryBytes int64      `yaml:"memory_bytes"`
	Distances   []int      `yaml:"distances,flow"`
	HugePages   []HugePool `yaml:"huge_pages"`
}

// HugePool is a pool of reserved huge pages.
type HugePool struct {
	PageBytes int64 `yaml:"page_bytes"`
	Total     int64 `yaml:"total"`
	Free      int64 `yaml:"free"`
}

// Memory is how fast memory is.
type Memory struct {
	TotalBytes int64 `yaml:"total_bytes"`
	// TransparentHugePages is the kernel's setting: always, madvise or never;
	// empty if it has none.
	TransparentHugePages string      `yaml:"transparent_huge_pages"`
	Bandwidth            []Bandwidth `yaml:"bandwidth"`
	Latency              []Latency   `yaml:"latency"`
}

// Bandwidth is of streams through memory that no cache holds.
type Bandwidth struct {
	Operation string  `yaml:"operation"` // read, write or copy; a copy counts the bytes copied, once
	Threads   int     `yaml:"threads"`
	GBPerS    float64 `yaml:"gb_per_s"`
}

// Latency is of loads of 64 bytes each, each of which needs the one before.
type Latency struct {
	WorkingSetBytes int64   `yaml:"working_set_bytes"`
	Pages           string  `yaml:"pages"` // huge-1g, huge-2m, transparent or plain
	Threads         int     `yaml:"threads"`
	LoadNS          float64 `yaml:"load_ns"`
	MLoadsPerS      float64 `yaml:"million_loads_per_s"` // of all threads
}

// Hash is the speed of one checksum on one thread.
type Hash struct {
	Name       string  `yaml:"name"`
	BlockBytes int     `yaml:"block_bytes"`
	GBPerS     float64 `yaml:"gb_per_s"`
	BlockUS    float64 `yaml:"block_us"`
}

// Erasure is the speed of one Reed-Solomon code on one thread, in bytes of data.
type Erasure struct {
	Data             int     `yaml:"data_shards"`
	Parity           int     `yaml:"parity_shards"`
	ShardBytes       int     `yaml:"shard_bytes"`
	EncodeGBPerS     float64 `yaml:"encode_gb_per_s"`
	ReconstructGBPer float64 `yaml:"reconstruct_gb_per_s"` // with as many shards lost as there is parity
}

// Disk is the drive under one directory.
type Disk struct {
	FileSystem string `yaml:"file_system"`
	TotalBytes int64  `yaml:"total_bytes"`
	FreeBytes  int64  `yaml:"free_bytes"`
	// FileBytes is the size of the file that was read at random.
	FileBytes  int64        `yaml:"file_bytes"`
	Fdatasync  []Fdatasync  `yaml:"fdatasync"`
	Sequential []Sequential `yaml:"sequential"`
	Random     []RandomRead `yaml:"random_read"`
	// RandomWrite and Queued are empty in profiles of version 1.
	RandomWrite []RandomWrite  `yaml:"random_write,omitempty"`
	Queued      []QueuedStream `yaml:"sequential_queued,omitempty"`
}

// Fdatasync is one write and one fdatasync after it, again and again, by one caller.
type Fdatasync struct {
	// File is growing (each write makes it longer) or recycled (preallocated and
	// written before, as a store's recycled segment is).
	File       string  `yaml:"file"`
	Direct     bool    `yaml:"direct"` // past the page cache (O_DIRECT)
	WriteBytes int     `yaml:"write_bytes"`
	Samples    int     `yaml:"samples"`
	P50US      float64 `yaml:"p50_us"`
	P99US      float64 `yaml:"p99_us"`
	MeanUS     float64 `yaml:"mean_us"`
	MBPerS     float64 `yaml:"mb_per_s"`
}

// Sequential is a stream in blocks of 1 MiB; a write ends with a sync.
type Sequential struct {
	Operation string  `yaml:"operation"` // write or read
	Direct    bool    `yaml:"direct"`
	MBPerS    float64 `yaml:"mb_per_s"`
}

// RandomRead is reads of one block at random places by as many callers at a time.
type RandomRead struct {
	QueueDepth int     `yaml:"queue_depth"`
	BlockBytes int     `yaml:"block_bytes"`
	Direct     bool    `yaml:"direct"`
	PerS       float64 `yaml:"reads_per_s"`
	P50US      float64 `yaml:"p50_us"`
	P99US      float64 `yaml:"p99_us"`
}

// RandomWrite is writes of one block at random places of a file that was written
// before, by as many callers at a time. Each is durable before it counts: a write
// past the page cache (O_DIRECT) and a fdatasync, which its latency has in it.
type RandomWrite struct {
	QueueDepth int     `yaml:"queue_depth"`
	BlockBytes int     `yaml:"block_bytes"`
	Direct     bool    `yaml:"direct"` // false: by the page cache, and a fdatasync all the same
	PerS       float64 `yaml:"durable_writes_per_s"`
	P50US      float64 `yaml:"p50_us"`
	P99US      float64 `yaml:"p99_us"`
}

// QueuedStream is a stream through a file that was written before, past the page
// cache, by as many callers at a time, each with one block under way. A write
// ends with one sync of everything; the latencies are of blocks, without it.
type QueuedStream struct {
	Operation  string  `yaml:"operation"` // write or read
	QueueDepth int     `yaml:"queue_depth"`
	BlockBytes int     `yaml:"block_bytes"`
	MBPerS     float64 `yaml:"mb_per_s"`
	P50US      float64 `yaml:"block_p50_us"`
	P99US      float64 `yaml:"block_p99_us"`
}

// Network is one way to another process.
type Network struct {
	Path         string      `yaml:"path"` // loopback or peer
	RoundTrips   []RoundTrip `yaml:"round_trips"`
	Streams      []Stream    `yaml:"streams"`
	ConnectP50US float64     `yaml:"connect_p50_us"`
}

// RoundTrip is of messages of 64 bytes that are sent back.
type RoundTrip struct {
	Connections int     `yaml:"connections"`
	PerS        float64 `yaml:"per_s"`
	P50US       float64 `yaml:"p50_us"`
	P99US       float64 `yaml:"p99_us"`
}

// Stream is bytes one way.
type Stream struct {
	Connections int     `yaml:"connections"`
	Direction   string  `yaml:"direction"` // send or receive
	GBPerS      float64 `yaml:"gb_per_s"`
}

// Noise is what else went on while all of this was measured.
type Noise struct {
	// StealPercent is the CPU time that a hypervisor took, OthersPercent what
	// other processes used, of all that there was.
	StealPercent  float64 `yaml:"steal_percent"`
	OthersPercent float64 `yaml:"others_percent"`
	LoadBefore    float64 `yaml:"load_average_before"`
	// Spins is how often one fixed piece of work was done, spread over the probe;
	// SpinMS its median (SpinCPUMS that of its CPU time, which tells the speed of a
	// thread whatever others do), SpinP95Percent by how much its P95 was above that, and
	// SpinDriftPercent how far apart the medians of its sections were.
	Spins            int     `yaml:"spins"`
	SpinMS           float64 `yaml:"spin_median_ms"`
	SpinCPUMS        float64 `yaml:"spin_cpu_median_ms"`
	SpinP95Percent   float64 `yaml:"spin_p95_above_median_percent"`
	SpinDriftPercent float64 `yaml:"spin_drift_percent"`
	Involuntary      float64 `yaml:"involuntary_switches_per_s"` // of this process
	// Level is quiet, busy or noisy.
	Level string `yaml:"level"`
}

// Levels of noise. On a noisy machine no figure is worth keeping; on a busy one
// medians are, and P99s are not.
const (
	Quiet = "quiet"
	Busy  = "busy"
	Noisy = "noisy"
)

func (n *Noise) judge() {
	switch {
	case n.StealPercent > 5 || n.OthersPercent > 25 || n.SpinP95Percent > 50 || n.SpinDriftPercent > 20:
		n.Level = Noisy
	case n.StealPercent > 1 || n.OthersPercent > 5 || n.SpinP95Percent > 15 || n.SpinDriftPercent > 7:
		n.Level = Busy
	default:
		n.Level = Quiet
	}
}

// SyncP99US is the P99 of a write of 4 KiB and its fdatasync on a recycled
// segment, as a store with group commit pays it; 0 if it was not measured.
// Where both were, the better of the page cache and O_DIRECT counts.
func (p *Profile) SyncP99US() float64 {
	return p.sync(func(f Fdatasync) float64 { return f.P99US })
}

// SyncP50US is the median of the same.
func (p *Profile) SyncP50US() float64 {
	return p.sync(func(f Fdatasync) float64 { return f.P50US })
}

func (p *Profile) sync(figure func(Fdatasync) float64) (best float64) {
	for _, f := range p.Disk.Fdatasync {
		if v := figure(f); f.File == Recycled && f.WriteBytes == 4096 && (best == 0 || v < best) {
			best = v
		}
	}
	return best
}

// Recycled and Growing name the files of Fdatasync.
const (
	Recycled = "recycled"
	Growing  = "growing"
)

// Load reads a profile's file.
func Load(name string) (*Profile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("load profile: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("load profile %s: %w", name, err)
	}
	p, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("load profile %s: %w", name, err)
	}
	return p, nil
}

// Decode reads a profile. What it does not know is an error, and so is a
// figure that can't be one.
func Decode(data []byte) (*Profile, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	var head struct {
		Version int `yaml:"version"`
	}
	if err := yaml.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	if head.Version < 1 || head.Version > Version {
		return nil, fmt.Errorf("its version is %d, this lab knows 1 to %d", head.Version, Version)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	var p Profile
	if err := d.Decode(&p); err != nil {
		return nil, err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document in it")
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	return &p, nil
}

func (p *Profile) validate() error {
	if p.CPU.Threads < 1 || p.CPU.Threads > 1<<16 {
		return fmt.Errorf("cpu.threads is %d", p.CPU.Threads)
	}
	if p.Memory.TotalBytes < 1 {
		return fmt.Errorf("memory.total_bytes is %d", p.Memory.TotalBytes)
	}
	switch p.Noise.Level {
	case Quiet, Busy, Noisy:
	default:
		return fmt.Errorf("noise.level %q: not quiet, busy or noisy", p.Noise.Level)
	}
	return plausible("", reflect.ValueOf(*p))
}

// plausible checks that all figures are finite and none is negative.
func plausible(path string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return nil
		}
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if path != "" {
				name = path + "." + name
			}
			if err := plausible(name, v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := plausible(fmt.Sprintf("%s[%d]", path, i), v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Float64:
		if f := v.Float(); f < 0 || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%s is %v", path, f)
		}
	case reflect.Int, reflect.Int64:
		if v.Int() < 0 {
			return fmt.Errorf("%s is %d", path, v.Int())
		}
	}
	return nil
}

// Encode writes the profile as YAML.
func (p *Profile) Encode(w io.Writer) error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("encode profile: %w", err)
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(p), e.Close())
}

// MarshalJSON writes the same keys as the YAML has.
func (p *Profile) MarshalJSON() ([]byte, error) {
	text, err := yaml.Marshal(p)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// Save writes the profile's file, whole or not at all.
func (p *Profile) Save(name string) error {
	var text bytes.Buffer
	if err := p.Encode(&text); err != nil {
		return err
	}
	draft := name + ".new"
	if err := os.WriteFile(draft, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("save profile: %w", err)
	}
	if err := os.Rename(draft, name); err != nil {
		return errors.Join(fmt.Errorf("save profile: %w", err), os.Remove(draft))
	}
	return nil
}
