package plan

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/probe"
)

// truth is a server whose responses are known.
type truth struct {
	closed Response
	p50    Tail
	p99    Tail
}

var (
	putTruth = truth{Response{Base: 300, Wait: 150, Contention: 60}, Tail{600, 300, 2}, Tail{1200, 900, 2.5}}
	getTruth = truth{Response{Base: 100, Contention: 20}, Tail{150, 60, 2}, Tail{500, 400, 2}}
)

// bySize makes larger objects cost more, in a straight line.
func (t truth) bySize(size int) truth {
	f := 1 + float64(size)/65536
	return truth{
		Response{t.closed.Base * f, t.closed.Wait * f, t.closed.Contention * f, t.closed.Coherency * f},
		Tail{t.p50.Base * f, t.p50.Scale * f, t.p50.Shape}, Tail{t.p99.Base * f, t.p99.Scale * f, t.p99.Shape},
	}
}

// points of a calibration of that server, with noise.
func truePoints(noise float64) (points []Point) {
	random := rand.New(rand.NewPCG(5, 6))
	shake := func(v float64) float64 { return v * (1 + noise*random.NormFloat64()) }
	for round := 1; round <= 2; round++ {
		for _, op := range []float64{1, 0} {
			for _, size := range []int{4096, 65536} {
				t := getTruth.bySize(size)
				if op == 1 {
					t = putTruth.bySize(size)
				}
				_, peak := t.closed.Peak()
				p := Point{Load: Load{Puts: op, Size: size}, Round: round, ServerUS: 50, ClientUS: 20, Written: op * float64(size) * 1.2}
				for _, n := range []int{1, 2, 4, 8, 16, 32, 64} {
					p.Connections, p.Offered = n, 0
					p.Rate, p.P50US = shake(t.closed.Rate(float64(n))), .9*t.closed.At(float64(n))
					p.P99US = shake(3 * t.closed.At(float64(n)))
					if n == 1 { // who is alone meets no queue
						p.P50US, p.P99US = shake(t.p50.At(0)), shake(t.p99.At(0))
					}
					points = append(points, p)
				}
				for _, rho := range []float64{.2, .4, .55, .7, .8, .9} {
					p.Connections, p.Offered = openConnections, rho*peak
					p.Rate, p.P50US, p.P99US = p.Offered, shake(t.p50.At(rho)), shake(t.p99.At(rho))
					points = append(points, p)
				}
			}
		}
	}
	return points
}

// exampleProfile is the golden profile of package probe.
func exampleProfile(t testing.TB) *probe.Profile {
	t.Helper()
	p, err := probe.Load(filepath.Join("..", "probe", "testdata", "v1.yaml"))
	require.NoError(t, err)
	p.Disk.Sequential = []probe.Sequential{{Operation: "write", MBPerS: 1000}, {Operation: "read", MBPerS: 2000}}
	p.Memory.TotalBytes = 34 << 30
	p.Disk.TotalBytes = 10e12
	p.Disk.Random = []probe.RandomRead{{QueueDepth: 32, PerS: 100_000}}
	return p
}

// exampleModel is fitted to the known server, on a machine like the profile's.
func exampleModel(t testing.TB, noise float64) *Model {
	t.Helper()
	m := &Model{Version: ModelVersion, Name: "example", Machine: Machine{Threads: 2, SpinMS: 4, SyncP50US: exampleProfile(t).SyncP50US(), Noise: probe.Quiet}, Points: truePoints(noise)}
	require.NoError(t, m.Fit())
	return m
}
