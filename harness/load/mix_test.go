package load

import (
	"bytes"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestUnmixIsMixsInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Uint64().Draw(t, "x")
		require.Equal(t, x, unmix64(mix64(x)))
		require.Equal(t, x, mix64(unmix64(x)))
	})
}

func TestATailTellsItsGeneration(t *testing.T) {
	body := NewBodies(9, 100).NewBody()
	for _, g := range []uint64{0, 1, 77, 1 << 60} {
		body.Set(5, g)
		tail := slices.Clone(body.Tail)
		body.Set(5, 3)
		got, ok := body.generationOf(tail)
		require.True(t, ok)
		require.Equal(t, g, got)
		for i := 8; i < len(tail); i++ {
			tail[i] ^= 1
			_, ok := body.generationOf(tail)
			require.False(t, ok)
			tail[i] ^= 1
		}
		body.Set(6, 0) // another object's tail
		got, ok = body.generationOf(tail)
		require.False(t, ok && got <= g)
	}
}

func TestEveryObjectHasOneOfTheSizesAndKeepsIt(t *testing.T) {
	bodies := NewBodies(1, 4096, 10, 70_000, 10)
	require.Equal(t, []int{10, 70_000}, []int{bodies.Smallest(), bodies.Largest()})
	a, b := bodies.NewBody(), bodies.NewBody()
	seen := map[int]int{}
	for id := range uint64(4000) {
		a.Set(id, 0)
		b.Set(id, 9)
		require.Equal(t, a.Size(), b.Size())
		require.Equal(t, hashOf(whole(a)), string(a.SHA256()))
		seen[a.Size()]++
	}
	require.Len(t, seen, 3)
	require.InDelta(t, 2000, seen[10], 200) // given twice
	require.InDelta(t, 1000, seen[4096], 150)
}

func TestOverwritesAreReadAsSomeWholeGeneration(t *testing.T) {
	ws := workspace(200, 20)
	server, target := prepared(t, ws)
	o := Options{Target: target, Workspace: ws, Connections: 4, Duration: 20 * time.Second, Requests: 2000, Mix: []Share{{Overwrite, 1}, {Get, 2}}}
	res, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.Len(t, server.objects, 20)
	require.Positive(t, res.Ops["OVERWRITE"].Count)

	o.Requests = 50
	server.mangle = func(_ string, b []byte) []byte { b[len(b)-1] ^= 1; return b }
	res, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, res.Ops["GET"].Errors, res.Failures["GET: body's last 32 bytes are those of no generation up to 0"]+other(res.Failures))
	require.Positive(t, res.Ops["GET"].Errors)
	require.Zero(t, res.Ops["GET"].Count)

	// Whole, but of a generation that nobody wrote yet.
	body := ws.Bodies.NewBody()
	server.mangle = func(key string, _ []byte) []byte {
		for id := range uint64(20) {
			if ws.Stored.Name(id) == key {
				body.Set(id, 1_000_000)
			}
		}
		return whole(body)
	}
	res, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.Zero(t, res.Ops["GET"].Count)
}

// other are the failures that name other generations.
func other(failures map[string]int64) (n int64) {
	for what, count := range failures {
		if what != "GET: body's last 32 bytes are those of no generation up to 0" && bytes.HasPrefix([]byte(what), []byte("GET: body's last")) {
			n += count
		}
	}
	return n
}

func TestMultipartUploadsArriveWhole(t *testing.T) {
	ws := workspace(10, 0)
	ws.Multipart = &Multipart{Parts: 3, Bodies: NewBodies(2, 300_000), ReadBack: 1}
	server, target := newMemoryS3(t)
	require.NoError(t, CreateBucket(t.Context(), target, ws.Bucket))
	o := Options{Target: target, Workspace: ws, Connections: 2, Duration: 20 * time.Second, Requests: 6, Mix: []Share{{MultipartUpload, 1}}}
	res, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.EqualValues(t, 6*900_000, res.Total().Bytes)
	require.Len(t, server.objects, 6)
	require.Empty(t, server.uploads)

	server.mangle = func(_ string, b []byte) []byte { b[650_000]++; return b }
	res, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"MULTIPART: read back: part 3: body differs at byte 50000": 6}, res.Failures)

	// A part that is refused takes the upload with it.
	server.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") == "2" {
			refuse(w, 500, "InternalError")
			return true
		}
		return false
	}
	res, err = Run(t.Context(), o)
	require.NoError(t, err)
	require.EqualValues(t, 6, res.Total().Errors)
	require.Empty(t, server.uploads, "aborted")
}

func TestStagesAreToldApart(t *testing.T) {
	ws := workspace(100, 10)
	_, target := prepared(t, ws)
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 4, Mix: []Share{{Get, 1}}, Arrivals: Uniform, Warmup: 100 * time.Millisecond,
		Stages: []Stage{{"low", 300 * time.Millisecond, 100, 100}, {"high", 200 * time.Millisecond, 500, 500}}})
	require.NoError(t, err)
	require.Empty(t, res.Failures)
	require.Len(t, res.Stages, 2)
	require.Equal(t, "high", res.Stages[1].Name)
	require.InDelta(t, 30, float64(res.Stages[0].Due), 2)
	require.InDelta(t, 100, float64(res.Stages[1].Due), 2)
	for _, s := range res.Stages {
		require.Equal(t, s.Due, s.Latency.Count())
		require.Zero(t, s.Dropped+s.Errors)
	}
	require.EqualValues(t, res.Total().Latency.Count(), res.Stages[0].Due+res.Stages[1].Due)
}

func TestWhoLosesPatienceIsCountedAsDropped(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	server.before = func(http.ResponseWriter, *http.Request) bool { time.Sleep(20 * time.Millisecond); return false }
	res, err := Run(t.Context(), Options{Target: target, Workspace: ws, Connections: 1, Arrivals: Uniform, Mix: []Share{{Get, 1}}, GiveUp: 50 * time.Millisecond,
		Stages: []Stage{{"over", 500 * time.Millisecond, 500, 500}, {"calm", time.Second, 10, 10}}})
	require.NoError(t, err)
	over, calm := res.Stages[0], res.Stages[1]
	require.Greater(t, over.Dropped, int64(200)) // 25 are served in the time, at most
	require.Equal(t, over.Due, over.Dropped+over.Latency.Count())
	require.Positive(t, calm.Latency.Count(), "who comes later does not wait behind those who left")
	require.Equal(t, res.Dropped, over.Dropped+calm.Dropped)
}

func TestClientsBackOffWhenToldTo(t *testing.T) {
	ws := workspace(100, 10)
	server, target := prepared(t, ws)
	server.before = func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, 503, "SlowDown"); return true }
	o := Options{Target: target, Workspace: ws, Connections: 1, Duration: 300 * time.Millisecond, Mix: []Share{{Get, 1}}}
	o.BackOff = BackOff{Min: 20 * time.Millisecond, Max: 80 * time.Millisecond}
	res, err := Run(t.Context(), o)
	require.NoError(t, err)
	// The least pauses are 10, 20, 40, 40, … ms: nine in 300 ms.
	require.LessOrEqual(t, res.Total().Errors, int64(10))
	require.Equal(t, res.Total().Errors, res.Total().Refused)
	require.Positive(t, res.Total().Refused)
}

func TestBadOptionsAreRefused(t *testing.T) {
	good := func() Options {
		return Options{Workspace: workspace(100, 10), Connections: 1, Duration: time.Second, Mix: []Share{{Get, 1}}}
	}
	for want, change := range map[string]func(*Options){
		"back-off":                  func(o *Options) { o.BackOff.Min = time.Second },
		"needs a time and a rate":   func(o *Options) { o.Stages = []Stage{{Name: "x", For: time.Second}} },
		"multipart upload needs":    func(o *Options) { o.Mix = []Share{{MultipartUpload, 1}} },
		"to tell their generations": func(o *Options) { o.Workspace.Bodies = NewBodies(1, 8); o.Mix = []Share{{Overwrite, 1}} },
		"a zipf exponent":           func(o *Options) { o.Workspace.Choice = Choice{Spread: ZipfKeys} },
		"must be of one size": func(o *Options) {
			o.Workspace.Multipart = &Multipart{Parts: 1, Bodies: NewBodies(1, 5, 6)}
			o.Mix = []Share{{MultipartUpload, 1}}
		},
	} {
		o := good()
		change(&o)
		_, err := Run(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
}
