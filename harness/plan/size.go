package plan

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/probe"
)

// Layout is how the nodes are built and run.
type Layout struct {
	// Data and Parity are the shards of an object; each parity shard is a node
	// that may be lost. Default 1 and 0: one copy.
	Data   int `json:"data_shards"`
	Parity int `json:"parity_shards"`
	// Drives of one node, default 1, and bytes of one drive; 0: the profile's.
	Drives     int     `json:"drives_per_node"`
	DriveBytes float64 `json:"drive_bytes"`
	// NetworkGbps is each node's network. 0: what the profile measured to a peer,
	// else 10.
	NetworkGbps float64 `json:"network_gbps"`
	// Fill is how full a drive may be (default .8), Headroom the share of every
	// resource that stays free (default .3), Misses the share of gets that memory
	// does not have (default 1), RebuildShare the part of drives and network that
	// a rebuild may use (default .3).
	Fill         float64 `json:"fill"`
	Headroom     float64 `json:"headroom"`
	Misses       float64 `json:"cache_misses"`
	RebuildShare float64 `json:"rebuild_share"`
	// Months of growth that the nodes must carry. Default 12.
	Months float64 `json:"months"`
}

// defaultFill is how full drives are planned to be.
const defaultFill = .8

// WithDefaults sets what is 0 to its default.
func (l Layout) WithDefaults() Layout {
	l.Data, l.Drives = cmp.Or(l.Data, 1), cmp.Or(l.Drives, 1)
	l.Fill, l.Headroom, l.Misses = cmp.Or(l.Fill, defaultFill), cmp.Or(l.Headroom, .3), cmp.Or(l.Misses, 1)
	l.RebuildShare, l.Months = cmp.Or(l.RebuildShare, .3), cmp.Or(l.Months, 12)
	return l
}

// of takes from the profile what the layout leaves to it.
func (l Layout) of(p *probe.Profile) Layout {
	l.DriveBytes = cmp.Or(l.DriveBytes, float64(p.Disk.TotalBytes))
	network := 10.0
	for _, n := range p.Network {
		if n.Path == "peer" {
			network = 0
			for _, s := range n.Streams {
				network = max(network, 8*s.GBPerS)
			}
		}
	}
	l.NetworkGbps = cmp.Or(l.NetworkGbps, network)
	return l
}

func (l Layout) validate() error {
	in := func(v, low, high float64) bool { return v >= low && v <= high }
	switch {
	case !in(float64(l.Data), 1, 64) || !in(float64(l.Parity), 0, 64):
		return fmt.Errorf("%d+%d shards: 1 to 64 of data, at most 64 of parity", l.Data, l.Parity)
	case !in(float64(l.Drives), 1, 1000):
		return fmt.Errorf("%d drives in a node: 1 to 1000", l.Drives)
	case !in(l.DriveBytes, 1<<20, 1<<60):
		return fmt.Errorf("a drive of %g bytes", l.DriveBytes)
	case !in(l.NetworkGbps, 1e-3, 1e5):
		return fmt.Errorf("a network of %g Gbit/s", l.NetworkGbps)
	case !in(l.Fill, .01, 1) || !in(l.Headroom, 0, .95) || !in(l.Misses, 0, 1) || !in(l.RebuildShare, .001, 1):
		return errors.New("fill, headroom, misses and the share of a rebuild are from 0 to 1 (fill from .01, headroom up to .95, a rebuild from .001)")
	case !in(l.Months, 0, 240):
		return fmt.Errorf("%g months: not from 0 to 240", l.Months)
	}
	return nil
}

// copies is how many bytes are kept for one of an object.
func (l Layout) copies() float64 { return float64(l.Data+l.Parity) / float64(l.Data) }

// A Resource is one thing of which all nodes need enough.
type Resource struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Demand is of all nodes together, Node what one has, Usable what of that may
	// be used.
	Demand Estimate `json:"demand"`
	Node   float64  `json:"of_a_node"`
	Usable float64  `json:"usable_of_a_node"`
	// Nodes is how many this resource alone would need.
	Nodes Estimate `json:"nodes"`
	// Used is the share of what all nodes of the plan have.
	Used float64 `json:"used"`
}

// A Plan is what to have for a want.
type Plan struct {
	Want      Want       `json:"want"`
	Layout    Layout     `json:"layout"`
	Profile   string     `json:"profile"`
	Model     string     `json:"model"`
	Nodes     Estimate   `json:"nodes"`
	Drives    int        `json:"drives"`
	Threads   int        `json:"threads"`
	Memory    float64    `json:"memory_bytes"`
	Resources []Resource `json:"resources"`
	// Bottleneck is the resource that gives out first, and Headroom by what share
	// the load may grow until it does.
	Bottleneck string  `json:"bottleneck"`
	Headroom   float64 `json:"headroom"`
	// Latencies are of each demand at the plan's load.
	Latencies []DemandLatency `json:"latencies"`
	// Rebuilds; nil where a loss can't be rebuilt.
	LostDrive *Estimate `json:"lost_drive_hours,omitempty"`
	LostNode  *Estimate `json:"lost_node_hours,omitempty"`
	Cost      *Cost     `json:"cost,omitempty"`
	// Assumptions are what the want left open and the plan had to take for granted.
	Assumptions []string `json:"assumptions,omitempty"`
	Warnings    []string `json:"warnings,omitempty"`
}

// A DemandLatency is the P99 that one operation will have.
type DemandLatency struct {
	Op    string   `json:"op"`
	P99US Estimate `json:"p99_us"`
	// Knee is the utilisation of the request path beyond which the P99 grows
	// faster than the throughput, Within the highest one that keeps the limit.
	Knee   float64 `json:"knee"`
	Within float64 `json:"within_limit,omitempty"`
}

// bytesPerObject is what memory the index takes for an object that it has to
// find fast: measured with five million objects, 87 to 121 MiB a million
// (results/README.md).
const bytesPerObject = 121 * 1.048576

// baseMemory is what a node needs beside its index: the process, groups under
// way, and room for the system.
const baseMemory = 2 << 30

// Make makes the plan. Every node is as the profile's machine, with the layout's
// drives and network, and carries an equal part. Of the layout only DriveBytes and
// NetworkGbps may be 0: the profile says them.
func Make(w Want, p *probe.Profile, m *Model, l Layout) (*Plan, error) {
	l = l.of(p)
	if err := l.validate(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	s := sizing{want: w, profile: p, model: m, layout: l, plan: &Plan{Want: w, Layout: l, Profile: p.Name, Model: m.Name, Latencies: []DemandLatency{}}}
	if err := s.scale(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if len(w.Demands) > 0 {
		if err := s.requests(); err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
	}
	s.capacity()
	s.drives()
	s.network()
	if err := s.memory(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if err := s.conclude(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if err := s.latencies(); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	s.rebuild()
	s.judge()
	return s.plan, nil
}

type sizing struct {
	want    Want
	profile *probe.Profile
	model   *Model
	layout  Layout
	plan    *Plan
	// objects is how many are stored at the end of the months; 0: not known.
	objects float64
	// speed is by what a node of the profile is faster than the model's machine:
	// it may be between low and high.
	speed Estimate
	// thread is by what one of its threads is, and wait how much longer than on the model's
	// machine a put waits for the drive, in µs.
	thread, wait float64
}

func (s *sizing) warn(format string, args ...any) {
	s.plan.Warnings = append(s.plan.Warnings, fmt.Sprintf(format, args...))
}

// resource adds one. limit is the highest share that may be used.
func (s *sizing) resource(name, unit string, demand Estimate, node, limit float64) {
	usable := node * limit
	if demand.High == 0 {
		return
	}
	if usable <= 0 {
		s.warn("the profile does not say what its %s are: whether they carry %s is not known", name, amount(demand.Value, unit))
		return
	}
	s.plan.Resources = append(s.plan.Resources, Resource{
		Name: name, Unit: unit, Demand: demand, Node: node, Usable: usable,
		Nodes: Estimate{demand.Value / usable, demand.Low / usable, demand.High / usable},
	})
}

func exactly(v float64) Estimate { return Estimate{v, v, v} }

// scale tells how much more a node carries than the machine that the model is
// of. Threads beyond those are not measured: the least that they give is the
// three-quarters power of their number, the most its first.
func (s *sizing) scale() error {
	m := s.model.Machine
	if m.SpinMS <= 0 || s.profile.Noise.SpinCPUMS <= 0 {
		return errors.New("the profile or the model does not say how fast a thread is (spin_cpu_median_ms)")
	}
	s.thread = m.SpinMS / s.profile.Noise.SpinCPUMS
	ratio := float64(s.profile.CPU.Threads) / float64(m.Threads)
	a, b := s.thread*math.Pow(ratio, .75), s.thread*ratio
	s.speed = Estimate{math.Sqrt(a * b), min(a, b), max(a, b)}
	if s.profile.CPU.Threads != m.Threads {
		s.warn("the model is of %d threads and the profile has %d: how the server scales from one to the other was not measured, and is most of the uncertainty", m.Threads, s.profile.CPU.Threads)
	}
	if s.profile.Noise.Level == probe.Noisy {
		s.warn("the profile was measured on a noisy machine")
	}
	s.syncs()
	return nil
}

// syncs compares the drives. A put waits for the sync under way and for its own.
func (s *sizing) syncs() {
	here, there := s.profile.SyncP50US(), s.model.Machine.SyncP50US
	if here == 0 || there == 0 {
		s.warn("the profile or the model does not say how long an fdatasync takes: the P99 of puts is of the model's drive")
		return
	}
	s.wait = max(0, 2*(here-there))
	if s.wait > there {
		s.warn("an fdatasync takes %s in the median here and %s on the model's machine: each put is taken to wait %s longer, and fewer of them may be under way than the model has seen", us(here), us(there), us(s.wait))
	}
}

// tail is the P99 that an operation has here at a utilisation of the request path.
func (s *sizing) tail(f Fit, rho float64) float64 {
	return f.P99.At(rho)/s.thread + s.waits(f)
}

func (s *sizing) waits(f Fit) float64 {
	if f.Op == "put" {
		return s.wait
	}
	return 0
}

// within is the highest utilisation that keeps a P99.
func (s *sizing) within(f Fit, limit time.Duration) float64 {
	return f.P99.Within((float64(limit)/1e3 - s.waits(f)) * s.thread)
}

// limit is the utilisation of the request path that keeps every P99, stays below
// every knee, and leaves the headroom.
func (s *sizing) limit(fits []Fit) (float64, error) {
	limit := 1 - s.layout.Headroom
	for _, d := range s.want.Demands {
		f, err := at(fits, d.Op, d.Size)
		if err != nil {
			return 0, err
		}
		limit = min(limit, f.P99.Knee())
		if d.P99 > 0 {
			within := s.within(f, d.P99)
			if within == 0 {
				return 0, fmt.Errorf("a P99 of %s of %s under %v can't be had on this machine: it is %s without any load", d.Op, sizeText(d.Size), d.P99, us(s.tail(f, 0)))
			}
			limit = min(limit, within)
		}
	}
	return limit, nil
}

// machines is how many of the model's machines the requests keep busy, and the
// utilisation that each may have.
func (s *sizing) machines(fits []Fit) (busy, limit float64, err error) {
	if limit, err = s.limit(fits); err != nil {
		return 0, 0, err
	}
	for _, d := range s.want.Demands {
		f, err := at(fits, d.Op, d.Size)
		if err != nil {
			return 0, 0, err
		}
		busy += d.Rate * s.shardCost(fits, d) / f.PeakPerS
	}
	return busy, limit, nil
}

// shardCost is what an object's shards cost, in requests of the whole: each is a request of
// its own on some node. All are written, and as many read as there are of data.
func (s *sizing) shardCost(fits []Fit, d Demand) float64 {
	shards := float64(s.layout.Data)
	if d.Op == "put" {
		shards += float64(s.layout.Parity)
	}
	if shards == 1 {
		return 1
	}
	whole, err := at(fits, d.Op, d.Size)
	if err != nil {
		return shards
	}
	one, err := at(fits, d.Op, max(1, d.Size/float64(s.layout.Data)))
	if err != nil {
		return shards
	}
	return shards * whole.PeakPerS / one.PeakPerS
}

// leastLimit is the utilisation below which a plan would be of idle machines.
const leastLimit = .02

// requests is the path of a request: processors, locks and syncs together, as
// the model saw them.
func (s *sizing) requests() error {
	p := s.model.predictor
	busy, limit, err := s.machines(p.fits)
	if err != nil {
		return err
	}
	if limit < leastLimit {
		return fmt.Errorf("the model keeps the latencies only below %.1f %% of the peak: it was calibrated on a machine that others used, or more is asked than this kind of machine has", 100*limit)
	}
	var needs []float64
	for _, set := range p.sets {
		b, lim, err := s.machines(set)
		if err != nil || lim <= 0 {
			continue
		}
		needs = append(needs, b/lim*limit)
	}
	e := estimate(busy, needs)
	e = Estimate{e.Value / s.speed.Value, e.Low / s.speed.High, e.High / s.speed.Low}
	s.resource("request path", "nodes' worth of requests", e, 1, limit)
	for _, d := range s.want.Demands {
		least, most := p.Sizes(d.Op)
		if d.Size < float64(least) || d.Size > float64(most) {
			s.warn("%s of %s: the model has %s to %s, beyond is a guess", d.Op, sizeText(d.Size), sizeName(least), sizeName(most))
		}
	}
	return nil
}

// capacity is the drives' bytes at the end of the months.
func (s *sizing) capacity() {
	l := s.layout
	stored := s.want.Stored * math.Pow(1+s.want.Growth, l.Months) * l.copies()
	s.resource("capacity", "bytes", exactly(stored), float64(l.Drives)*l.DriveBytes, l.Fill)
}

// drives are their bandwidths and reads.
func (s *sizing) drives() {
	l := s.layout
	var write, read, reads float64
	for _, d := range s.want.Demands {
		switch d.Op {
		case "put":
			amplified := l.copies()
			if f, err := at(s.model.predictor.fits, "put", d.Size); err == nil && f.Written > d.Size {
				amplified *= f.Written / d.Size
			}
			write += d.Rate * d.Size * amplified
		case "get":
			read += d.Rate * d.Size * l.Misses
			reads += d.Rate * l.Misses * float64(l.Data)
		}
	}
	limit := 1 - l.Headroom
	drives := float64(l.Drives)
	canRead, canWrite := s.sequential()
	s.resource("drive writes", "bytes/s", exactly(write), canWrite, limit)
	s.resource("drive reads", "bytes/s", exactly(read), canRead, limit)
	most := 0.0
	for _, r := range s.profile.Disk.Random {
		most = max(most, r.PerS)
	}
	s.resource("random reads", "reads/s", exactly(reads), drives*most, limit)
}

// sequential is what a node's drives read and write, in bytes a second; 0: not known.
func (s *sizing) sequential() (read, write float64) {
	for _, q := range s.profile.Disk.Sequential {
		switch q.Operation {
		case "read":
			read = q.MBPerS * 1e6 * float64(s.layout.Drives)
		case "write":
			write = q.MBPerS * 1e6 * float64(s.layout.Drives)
		}
	}
	return read, write
}

// network is what goes in and out of nodes, in the busier direction.
func (s *sizing) network() {
	var in, out float64
	for _, d := range s.want.Demands {
		bytes := d.Rate * d.Size
		if d.Op == "put" {
			in += bytes * s.layout.copies()
			if s.layout.Parity > 0 || s.layout.Data > 1 {
				in += bytes // from the client, before it is spread
				out += bytes * s.layout.copies()
			}
			continue
		}
		out += bytes
		if s.layout.Data > 1 {
			in, out = in+bytes, out+bytes
		}
	}
	s.resource("network", "bytes/s", exactly(max(in, out)), s.layout.NetworkGbps*1e9/8, 1-s.layout.Headroom)
}

// objectSize is the mean size of what is stored: what the want states, or else what
// is put, or, where nothing is, what is got. assumed says of which the latter is.
func (s *sizing) objectSize() (size float64, assumed string) {
	if s.want.StoredSize > 0 {
		return s.want.StoredSize, ""
	}
	for _, op := range []string{"put", "get"} {
		var bytes, rate float64
		for _, d := range s.want.Demands {
			if d.Op == op {
				bytes, rate = bytes+d.Rate*d.Size, rate+d.Rate
			}
		}
		if rate > 0 {
			return bytes / rate, op
		}
	}
	return 0, ""
}

// memory is the index's: gets and puts slow down where it does not fit
// (results/README.md has by how much).
func (s *sizing) memory() error {
	size, _ := s.objectSize()
	if size == 0 || s.want.Stored == 0 {
		return nil
	}
	s.objects = s.want.Stored * math.Pow(1+s.want.Growth, s.layout.Months) / size
	objects := s.objects * float64(s.layout.Data+s.layout.Parity) // every shard is in some index
	node := float64(s.profile.Memory.TotalBytes) - baseMemory
	if node <= 0 {
		return fmt.Errorf("the profile's machine has %s of memory: the server takes %s beside the index of %s million objects, so that no number of such nodes is enough", amount(float64(s.profile.Memory.TotalBytes), "bytes"), amount(baseMemory, "bytes"), digits(s.objects/1e6))
	}
	s.resource("memory for the index", "bytes", Estimate{objects * bytesPerObject, objects * bytesPerObject * 87 / 121, objects * bytesPerObject}, node, 1-s.layout.Headroom)
	return nil
}

// mostNodes is where a plan is surely a slip of the pen, and its drives still a number.
const mostNodes = 1e12

// conclude takes as many nodes as the neediest resource asks for.
func (s *sizing) conclude() error {
	least := float64(s.layout.Data + s.layout.Parity)
	need := exactly(max(least, 1))
	for _, r := range s.plan.Resources {
		need = Estimate{max(need.Value, math.Ceil(r.Nodes.Value-1e-9)), max(need.Low, math.Ceil(r.Nodes.Low-1e-9)), max(need.High, math.Ceil(r.Nodes.High-1e-9))}
	}
	if !(need.High <= mostNodes) {
		return fmt.Errorf("it takes %.3g nodes: is that what is wanted?", need.High)
	}
	s.plan.Nodes = need
	n := need.Value
	s.plan.Drives, s.plan.Threads = int(n)*s.layout.Drives, int(n)*s.profile.CPU.Threads
	s.plan.Memory = n * float64(s.profile.Memory.TotalBytes)
	most := 0.0
	for i := range s.plan.Resources {
		r := &s.plan.Resources[i]
		r.Used = r.Demand.Value / (n * r.Node)
		if used := r.Demand.Value / (n * r.Usable); used > most {
			most, s.plan.Bottleneck = used, r.Name
		}
	}
	if most > 0 {
		s.plan.Headroom = 1/most - 1
	}
	return nil
}

// latencies are at the utilisation that the plan's nodes have.
func (s *sizing) latencies() error {
	rho := 0.0
	for _, r := range s.plan.Resources {
		if r.Name == "request path" {
			rho = r.Used
		}
	}
	for _, d := range s.want.Demands {
		f, err := at(s.model.predictor.fits, d.Op, d.Size)
		if err != nil {
			return err
		}
		var all []float64
		for _, set := range s.model.predictor.sets {
			if g, err := at(set, d.Op, d.Size); err == nil {
				all = append(all, s.tail(g, rho))
			}
		}
		l := DemandLatency{Op: d.Op, P99US: estimate(s.tail(f, rho), all), Knee: f.P99.Knee()}
		if d.P99 > 0 {
			l.Within = s.within(f, d.P99)
			if limit := float64(d.P99) / 1e3; l.P99US.High > limit {
				s.warn("%s: the P99 may be %s, above the %v that are asked", d.Op, us(l.P99US.High), d.P99)
			}
		}
		s.plan.Latencies = append(s.plan.Latencies, l)
	}
	return nil
}

// rebuild is how long the lost shards take to make again on the nodes that are
// left, all of which take part with the layout's share.
func (s *sizing) rebuild() {
	l, n := s.layout, s.plan.Nodes.Value
	if s.want.Stored == 0 {
		return
	}
	if l.Parity == 0 {
		s.warn("one copy: what a lost drive held is lost; give --scheme, as 8+4, or keep another copy elsewhere")
		return
	}
	bytes := s.want.Stored * math.Pow(1+s.want.Growth, l.Months) * l.copies() / (n * float64(l.Drives)) // of one drive
	left := n - 1
	if left < 1 {
		return
	}
	read, write := s.sequential()
	if read == 0 || write == 0 {
		s.warn("the profile has no sequential speed of the drive: the time of a rebuild is not known")
		return
	}
	network := l.NetworkGbps * 1e9 / 8
	// Each lost byte is made of Data others, read and sent; then it is written.
	k := float64(l.Data)
	perByte := max(k/(read*left), 1/(write*left), k/(network*left)) / l.RebuildShare
	hours := func(drives float64) *Estimate {
		h := bytes * drives * perByte / 3600
		// Other work on the drives makes it longer, never shorter.
		return &Estimate{h, h, h / (1 - l.Headroom)}
	}
	s.plan.LostDrive, s.plan.LostNode = hours(1), hours(float64(l.Drives))
}

// assume says how large a stored object was taken to be, where the want did not:
// their number, and with it the index, is a guess then.
func (s *sizing) assume() {
	if s.want.Stored == 0 || s.want.StoredSize > 0 {
		return
	}
	const state = "state their size, as stored=500TiB,1MiB"
	size, op := s.objectSize()
	if size == 0 {
		s.plan.Assumptions = append(s.plan.Assumptions, "objects are few enough that their index needs no memory to speak of; "+state)
		return
	}
	text := fmt.Sprintf("what is stored is as large as what is %s, %s an object, so that there are %s million", map[string]string{"put": "put", "get": "got"}[op], sizeText(math.Round(size)), digits(s.objects/1e6))
	if s.plan.Bottleneck == "memory for the index" {
		text += ", whose index decides how many nodes there are"
	}
	s.plan.Assumptions = append(s.plan.Assumptions, text+"; if it is not so, "+state)
}

// judge adds what a reader must know.
func (s *sizing) judge() {
	s.assume()
	if s.plan.Nodes.Value > 1 || s.layout.Parity > 0 || s.layout.Drives > 1 {
		s.warn("today's Cairn is one server on one drive: the figures for several are arithmetic on what one carries, and spread by the clients")
	}
	if s.model.Machine.Shared {
		s.warn("the model's generator ran on the server's processors: a server alone carries more")
	}
	if len(s.model.Checks) == 0 {
		s.warn("the model was never checked: run lab plan check")
	}
	if s.model.Machine.Noise != probe.Quiet {
		s.warn("the model was calibrated on a %s machine", s.model.Machine.Noise)
	}
}

// hoursText prints hours, in minutes and seconds where there are few.
func hoursText(h float64) string {
	switch d := time.Duration(h * float64(time.Hour)); {
	case d < time.Second:
		return "under a second"
	case d < 10*time.Minute:
		return d.Round(time.Second).String()
	default:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
}

// rebuildText prints how long a rebuild takes.
func rebuildText(e Estimate) string {
	low, high := hoursText(e.Low), hoursText(e.High)
	if low == high {
		return low
	}
	return low + " to " + high
}
