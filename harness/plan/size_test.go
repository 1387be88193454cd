package plan

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cairnstore/cairn/harness/probe"
)

func mustParse(t require.TestingT, text string) Want {
	w, err := Parse(text)
	require.NoError(t, err)
	return w
}

func resourceOf(t testing.TB, p *Plan, name string) Resource {
	t.Helper()
	for _, r := range p.Resources {
		if r.Name == name {
			return r
		}
	}
	require.Fail(t, "no resource "+name)
	return Resource{}
}

// 100 TB that grow by 2 % a month for a year, in 8+4 shards on nodes of 4 drives
// of 10 TB filled to 80 %: 100·1.02^12·1.5 = 190.24 TB on 32 TB a node: 6 nodes,
// but 12 are needed for 12 shards.
func TestCapacityByHand(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	l := Layout{Data: 8, Parity: 4, Drives: 4, DriveBytes: 10e12}
	made, err := Make(mustParse(t, "stored=100TB; growth=2%/month"), p, m, l.WithDefaults())
	require.NoError(t, err)
	r := resourceOf(t, made, "capacity")
	require.InEpsilon(t, 100e12*math.Pow(1.02, 12)*1.5, r.Demand.Value, 1e-12)
	require.InDelta(t, 5.945, r.Nodes.Value, .001)
	require.Equal(t, exactly(12), made.Nodes)
	require.Equal(t, 48, made.Drives)

	// A drive of 48 holds 190.24/48 = 3.963 TB. Each of its bytes is made of 8
	// others. 11 nodes have 4·2 GB/s of reads, 4·1 of writes and 1.25 of network
	// each, of which 30 % may be used: the network needs 8/(1.25·11) s a GB.
	bytes := 100e12 * math.Pow(1.02, 12) * 1.5 / 48
	hours := bytes * 8 / (1.25e9 * 11) / .3 / 3600
	require.InEpsilon(t, hours, made.LostDrive.Value, 1e-9)
	require.InEpsilon(t, 4*hours, made.LostNode.Value, 1e-9)
	require.InEpsilon(t, hours/.7, made.LostDrive.High, 1e-9)

	// 1 PB needs 1.5·1.268 = 1.902 PB on 32 TB a node: 60.
	made, err = Make(mustParse(t, "stored=1PB; growth=2%/month"), p, m, l.WithDefaults())
	require.NoError(t, err)
	require.Equal(t, exactly(60), made.Nodes)
	require.Equal(t, "capacity", made.Bottleneck)
	require.InDelta(t, 60/59.45-1, made.Headroom, .001)
}

// Twice the peak of gets with a limit of 70 %: 2/.7 = 2.86, so three nodes of
// which two thirds are used.
func TestRequestsByHand(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	f, err := at(m.Fits, "get", 4096)
	require.NoError(t, err)
	knee := f.P99.Knee()
	limit := min(.7, knee)
	w := Want{Demands: []Demand{{Op: "get", Rate: 2 * f.PeakPerS, Size: 4096}}}
	made, err := Make(w, p, m, Layout{NetworkGbps: 1000, Misses: 1e-9}.WithDefaults())
	require.NoError(t, err)
	require.InEpsilon(t, 2/limit, resourceOf(t, made, "request path").Nodes.Value, 1e-9)
	n := math.Ceil(2 / limit)
	require.Equal(t, n, made.Nodes.Value)
	require.Equal(t, "request path", made.Bottleneck)
	require.InEpsilon(t, f.P99.At(2/n), made.Latencies[0].P99US.Value, 1e-9)

	// A limit of the P99 below what the knee gives needs more nodes.
	bound := f.P99.At(limit / 2)
	w.Demands[0].P99 = time.Duration(bound * 1e3)
	stricter, err := Make(w, p, m, Layout{NetworkGbps: 1000, Misses: 1e-9}.WithDefaults())
	require.NoError(t, err)
	require.InDelta(t, 4/limit, resourceOf(t, stricter, "request path").Nodes.Value, .01)
	require.LessOrEqual(t, stricter.Latencies[0].P99US.Value, bound*1.001)

	w.Demands[0].P99 = time.Microsecond
	_, err = Make(w, p, m, Layout{}.WithDefaults())
	require.ErrorContains(t, err, "can't be had")
}

// 1,000 puts of 1 MB a second in 2+1 shards: in come 1 GB from clients and 1.5 of
// shards, on 1.25 GB/s a node of which 70 % may be used: 2.86 nodes.
func TestNetworkAndDrivesByHand(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	w := Want{Demands: []Demand{{Op: "put", Rate: 1000, Size: 1e6}}}
	made, err := Make(w, p, m, Layout{Data: 2, Parity: 1}.WithDefaults())
	require.NoError(t, err)
	r := resourceOf(t, made, "network")
	require.InEpsilon(t, 2.5e9, r.Demand.Value, 1e-9)
	require.InEpsilon(t, 2.5/(1.25*.7), r.Nodes.Value, 1e-9)
	// The model wrote 1.2 bytes for one: 1000·1 MB·1.5·1.2 on 1 GB/s a drive.
	require.InEpsilon(t, 1.8e9, resourceOf(t, made, "drive writes").Demand.Value, 1e-3)
	require.Nil(t, made.LostDrive, "nothing is stored")
}

// 1 TB of objects of 4 KiB: 244 million of 127 bytes are 31 GB, on 32 GiB a node
// of which 70 % may be used.
func TestMemoryByHand(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	made, err := Make(mustParse(t, "get=10/s,4KiB; stored=1TB"), p, m, Layout{}.WithDefaults())
	require.NoError(t, err)
	r := resourceOf(t, made, "memory for the index")
	require.InEpsilon(t, 1e12/4096*bytesPerObject, r.Demand.Value, 1e-9)
	require.EqualValues(t, 32<<30, r.Node)
	require.Contains(t, made.Warnings[len(made.Warnings)-1], "never checked")
	require.NotNil(t, made.Resources)
	require.Contains(t, warningsOf(made), "one copy")
}

func warningsOf(p *Plan) (all string) {
	for _, w := range p.Warnings {
		all += w + "\n"
	}
	return all
}

// A faster and larger machine is as good as its threads, and less sure.
func TestOtherMachinesWidenTheRange(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	w := mustParse(t, "put=100000/s,4KiB")
	same, err := Make(w, p, m, Layout{NetworkGbps: 1000, Drives: 100}.WithDefaults())
	require.NoError(t, err)
	p.CPU.Threads = 32
	p.Noise.SpinCPUMS /= 2
	other, err := Make(w, p, m, Layout{NetworkGbps: 1000, Drives: 100}.WithDefaults())
	require.NoError(t, err)
	a, b := resourceOf(t, same, "request path").Nodes, resourceOf(t, other, "request path").Nodes
	require.InEpsilon(t, a.Low/32, b.Low, 1e-9, "16 times the threads, each twice as fast")
	require.InEpsilon(t, a.High/(2*math.Pow(16, .75)), b.High, 1e-9)
	require.Contains(t, warningsOf(other), "was not measured")
}

// More of anything never needs fewer nodes, and more generous nodes never more.
func TestPlansAreMonotone(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, .02)
	rapid.Check(t, func(t *rapid.T) {
		up := func(name string) float64 { return rapid.Float64Range(1, 5).Draw(t, name) }
		w := Want{
			Demands: []Demand{
				{Op: "put", Rate: rapid.Float64Range(1, 1e5).Draw(t, "puts"), Size: rapid.Float64Range(1, 1e6).Draw(t, "put size"), P99: time.Second},
				{Op: "get", Rate: rapid.Float64Range(1, 1e6).Draw(t, "gets"), Size: rapid.Float64Range(1, 1e6).Draw(t, "get size")},
			},
			Stored: rapid.Float64Range(1, 1e15).Draw(t, "stored"), Growth: rapid.Float64Range(0, .2).Draw(t, "growth"),
		}
		l := Layout{Data: rapid.IntRange(1, 10).Draw(t, "data"), Parity: rapid.IntRange(0, 4).Draw(t, "parity"), Drives: rapid.IntRange(1, 24).Draw(t, "drives"), DriveBytes: rapid.Float64Range(1e12, 3e13).Draw(t, "drive")}
		base, err := Make(w, p, m, l.WithDefaults())
		require.NoError(t, err)
		require.GreaterOrEqual(t, base.Nodes.Value, float64(max(1, l.Data+l.Parity)))
		require.LessOrEqual(t, base.Nodes.Low, base.Nodes.Value)
		require.LessOrEqual(t, base.Nodes.Value, base.Nodes.High)
		require.GreaterOrEqual(t, base.Headroom, -1e-9)
		for _, r := range base.Resources {
			require.LessOrEqual(t, r.Used*r.Node, r.Usable*(1+1e-9), "%s is used beyond what may be", r.Name)
		}
		more := w
		more.Demands = []Demand{w.Demands[0], w.Demands[1]}
		more.Demands[0].Rate *= up("more puts")
		more.Demands[1].Rate *= up("more gets")
		more.Stored *= up("more stored")
		grown, err := Make(more, p, m, l.WithDefaults())
		require.NoError(t, err)
		require.GreaterOrEqual(t, grown.Nodes.Value, base.Nodes.Value)
		better := l
		better.DriveBytes *= up("larger drives")
		better.NetworkGbps = 10 * up("faster network")
		relaxed, err := Make(w, p, m, better.WithDefaults())
		require.NoError(t, err)
		require.LessOrEqual(t, relaxed.Nodes.Value, base.Nodes.Value)
	})
}

func TestPlanInWords(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, .02)
	m.Checks = []Check{{Record: "r.json", Rows: []Row{
		{Load: Load{Puts: 1, Size: 4096, Connections: 3}, Why: "concurrency", BelowKnee: true, Rate: Estimate{110, 100, 120}, P99US: Estimate{900, 800, 1000}, GotRate: 100, GotP99US: 1000},
	}}}
	made, err := Make(mustParse(t, "put=5000/s,4KiB,p99<20ms; get=20000/s,4KiB; stored=10TiB; growth=2%/month"), p, m, Layout{Data: 2, Parity: 1}.WithDefaults())
	require.NoError(t, err)
	(&Prices{Currency: "EUR", Node: 1}).Add(made)
	var out bytes.Buffer
	require.NoError(t, made.Write(&out, m))
	for _, want := range []string{"first bottleneck", "rebuild of a lost node", "EUR once", "P99 of put", "closed put 4KiB/c=3", "10.0 %, goal 10 %", "10.0 %, goal 25 %", "one server on one drive"} {
		require.Contains(t, out.String(), want)
	}
	text, err := json.Marshal(made)
	require.NoError(t, err)
	require.Contains(t, string(text), `"bottleneck"`)
}

func TestBadLayouts(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	for _, l := range []Layout{{Data: 65}, {Parity: -1}, {Drives: 1001}, {DriveBytes: -1}, {NetworkGbps: -1}, {Fill: 2}, {Headroom: .99}, {Misses: -1}, {Months: 1000}, {RebuildShare: 2}} {
		_, err := Make(mustParse(t, "stored=1TB"), p, m, l.WithDefaults())
		require.Error(t, err, "%+v", l)
	}
	m.Machine.SpinMS = 0
	_, err := Make(mustParse(t, "stored=1TB"), p, m, Layout{}.WithDefaults())
	require.ErrorContains(t, err, "spin_cpu_median_ms")
}

// 1 TB of objects of 1 MB is a million of them, whatever the requests' size. Where
// the want does not say how large they are, the plan says what it took.
func TestTheNumberOfStoredObjectsIsStatedOrAssumedAloud(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	index := func(want string) (*Plan, float64) {
		made, err := Make(mustParse(t, want), p, m, Layout{}.WithDefaults())
		require.NoError(t, err)
		for _, r := range made.Resources {
			if r.Name == "memory for the index" {
				return made, r.Demand.Value
			}
		}
		return made, 0
	}
	made, memory := index("put=10/s,4kB; stored=1TB,1MB")
	require.InEpsilon(t, 1e6*bytesPerObject, memory, 1e-9)
	require.Empty(t, made.Assumptions)

	made, memory = index("put=10/s,4kB; get=10/s,1MB; stored=1TB")
	require.InEpsilon(t, 250e6*bytesPerObject, memory, 1e-9)
	require.Equal(t, []string{"what is stored is as large as what is put, 4kB an object, so that there are 250 million, whose index decides how many nodes there are; if it is not so, state their size, as stored=500TiB,1MiB"}, made.Assumptions)
	var out bytes.Buffer
	require.NoError(t, made.Write(&out, m))
	require.Contains(t, out.String(), "assumed: what is stored is as large as what is put, 4kB an object")

	made, _ = index("get=10/s,1MB; stored=1TB")
	require.Contains(t, made.Assumptions[0], "as large as what is got, 1MB an object, so that there are 1 million; if")
	made, memory = index("stored=1TB")
	require.Zero(t, memory)
	require.Contains(t, made.Assumptions[0], "needs no memory to speak of; state their size")
	made, memory = index("stored=1TB,1MB")
	require.InEpsilon(t, 1e6*bytesPerObject, memory, 1e-9)
	require.Empty(t, made.Assumptions)
	made, _ = index("put=10/s,4kB")
	require.Empty(t, made.Assumptions, "nothing is stored")
}

func TestRebuildsInWords(t *testing.T) {
	seconds := func(low, high float64) Estimate { return Estimate{low / 3600, low / 3600, high / 3600} }
	for want, e := range map[string]Estimate{
		"under a second": seconds(.01, .2), "under a second to 3s": seconds(.9, 3.2), "8m3s to 11m": seconds(483, 680), "4s": seconds(4.1, 4.2), "3h5m to 52h53m": seconds(11100, 190380),
	} {
		require.Equal(t, want, rebuildText(e))
	}
}

// An explicit 0 is 0: only WithDefaults takes it for what was not said.
func TestZeroIsNoDefault(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	w := mustParse(t, "get=100000/s,4KiB; stored=1TB,1MiB; growth=100%/month")
	l := Layout{}.WithDefaults()
	l.Misses, l.Headroom, l.Months = 0, 0, 0
	made, err := Make(w, p, m, l)
	require.NoError(t, err)
	for _, r := range made.Resources {
		require.NotContains(t, []string{"random reads", "drive reads"}, r.Name)
		if r.Name == "capacity" {
			require.InDelta(t, 1e12, r.Demand.Value, 1)
		}
	}
	for _, bad := range []func(*Layout){func(l *Layout) { l.Drives = 0 }, func(l *Layout) { l.Drives = -5 }, func(l *Layout) { l.Data = 0 }, func(l *Layout) { l.Fill = 0 }} {
		l := Layout{}.WithDefaults()
		bad(&l)
		_, err := Make(w, p, m, l)
		require.Error(t, err, "%+v", l)
	}
}

// A promise of latency is about the profile's machine, not the model's.
func TestLatenciesAreOfTheProfilesMachine(t *testing.T) {
	m := exampleModel(t, 0)
	w := mustParse(t, "put=200/s,4KiB,p99<20ms; get=200/s,4KiB")
	at := func(change func(*probe.Profile)) (*Plan, error) {
		p := exampleProfile(t)
		change(p)
		return Make(w, p, m, Layout{}.WithDefaults())
	}
	same, err := at(func(*probe.Profile) {})
	require.NoError(t, err)
	slowDrive, err := at(func(p *probe.Profile) {
		for i := range p.Disk.Fdatasync {
			p.Disk.Fdatasync[i].P50US += 5000
		}
	})
	require.NoError(t, err)
	require.InDelta(t, same.Latencies[0].P99US.Value+10_000, slowDrive.Latencies[0].P99US.Value, 1)
	require.InDelta(t, same.Latencies[1].P99US.Value, slowDrive.Latencies[1].P99US.Value, 1, "a get waits for no sync")
	require.Contains(t, strings.Join(slowDrive.Warnings, "\n"), "an fdatasync takes")
	_, err = at(func(p *probe.Profile) {
		for i := range p.Disk.Fdatasync {
			p.Disk.Fdatasync[i].P50US += 20_000
		}
	})
	require.ErrorContains(t, err, "can't be had")
	slowThreads, err := at(func(p *probe.Profile) { p.Noise.SpinCPUMS *= 3 })
	require.NoError(t, err)
	require.Greater(t, slowThreads.Latencies[0].P99US.Value, 2.5*same.Latencies[0].P99US.Value)
}

// What the profile does not say is no promise kept: it is said, or refused.
func TestUnknownCapacities(t *testing.T) {
	m := exampleModel(t, 0)
	p := exampleProfile(t)
	p.Memory.TotalBytes = 1 << 30
	_, err := Make(mustParse(t, "stored=100GiB,1KiB"), p, m, Layout{}.WithDefaults())
	require.ErrorContains(t, err, "memory")
	p = exampleProfile(t)
	p.Disk.Sequential, p.Disk.Random = nil, nil
	made, err := Make(mustParse(t, "put=10/s,4KiB; get=10/s,4KiB"), p, m, Layout{}.WithDefaults())
	require.NoError(t, err)
	said := strings.Join(made.Warnings, "\n")
	for _, name := range []string{"drive writes", "drive reads", "random reads"} {
		require.Contains(t, said, name)
	}
	_, err = Make(mustParse(t, "stored=1EiB,1MiB; growth=1000%/month"), exampleProfile(t), m, Layout{Months: 240}.WithDefaults())
	require.ErrorContains(t, err, "is that what is wanted")
}

// Each shard that is read is a request.
func TestShardsCostRequests(t *testing.T) {
	p, m := exampleProfile(t), exampleModel(t, 0)
	path := func(l Layout) float64 {
		made, err := Make(mustParse(t, "get=100000/s,4KiB"), p, m, l.WithDefaults())
		require.NoError(t, err)
		for _, r := range made.Resources {
			if r.Name == "request path" {
				return r.Demand.Value
			}
		}
		return 0
	}
	require.Greater(t, path(Layout{Data: 8, Parity: 4}), 6*path(Layout{}))
}
