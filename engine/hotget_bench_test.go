package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/object"
)

// cpuTime is what this process has used, so that what else a machine does counts less.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func hotObjects(b *testing.B, n int) *engine.Engine {
	return hotObjectsOf(b, n, engine.Options{AccessKey: "access", SecretKey: "secret-secret"})
}

func hotObjectsOf(b *testing.B, n int, o engine.Options) *engine.Engine {
	o.Dir, o.CacheBytes, o.Log = b.TempDir(), 64<<20, slog.New(slog.DiscardHandler)
	e, err := engine.Open(ctx, o)
	require.NoError(b, err)
	b.Cleanup(func() { _ = e.Close(ctx) })
	require.NoError(b, e.CreateBucket(ctx, "photos"))
	var in []*object.PutInput
	for i := range n {
		in = append(in, &object.PutInput{Bucket: "photos", Key: fmt.Sprintf("some/key/%04d.jpg", i), Body: bytes.NewReader(make([]byte, 4096)), Size: 4096})
	}
	for _, r := range e.PutMany(ctx, in) {
		require.NoError(b, r.Err)
	}
	time.Sleep(300 * time.Millisecond) // the index has them then
	for range 3 {
		for i := range n {
			out, err := e.Get(ctx, "photos", fmt.Sprintf("some/key/%04d.jpg", i))
			require.NoError(b, err)
			_ = out.Body.Close()
		}
	}
	return e
}

// A GET of a hot object of 4 KiB, in process.
func BenchmarkHotGet(b *testing.B) {
	e := hotObjects(b, 512)
	api := e.Objects()
	in := make([]object.GetInput, 512)
	for i := range in {
		in[i] = object.GetInput{Bucket: "photos", Key: fmt.Sprintf("some/key/%04d.jpg", i)}
	}
	b.ReportAllocs()
	b.ResetTimer()
	from := cpuTime()
	for i := range b.N {
		out, err := api.Get(ctx, &in[i%512])
		if err != nil {
			b.Fatal(err)
		}
		_, _ = out.Body.(io.WriterTo).WriteTo(io.Discard)
		_ = out.Body.Close()
	}
	b.ReportMetric(float64(cpuTime()-from)/float64(b.N), "cpu-ns/op")
}

type nowhere struct{ h http.Header }

func (w *nowhere) Header() http.Header         { return w.h }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}

// The same from the request's head on, its signature included.
func BenchmarkHotGetSigned(b *testing.B) {
	e := hotObjects(b, 1)
	r, err := http.NewRequest("GET", "http://localhost:9000/photos/some/key/0000.jpg", nil)
	require.NoError(b, err)
	r.RequestURI = r.URL.RequestURI()
	sign.New("access", "secret-secret", "us-east-1").Sign(r, sign.HashOf(nil), time.Now())
	h := e.Handler()
	w := &nowhere{h: make(http.Header)}
	h.ServeHTTP(w, r)
	require.Equal(b, "4096", w.h.Get("Content-Length"))
	b.ReportAllocs()
	b.ResetTimer()
	from := cpuTime()
	for range b.N {
		clear(w.h)
		h.ServeHTTP(w, r)
	}
	b.ReportMetric(float64(cpuTime()-from)/float64(b.N), "cpu-ns/op")
}

// What learning costs a hot GET: an engine that learns and one that does not, in
// one process, in turns of a thousand GETs, so that what else the machine does falls
// on both. The median of the turns counts, and of their differences.
func BenchmarkHotGetBeside(b *testing.B) {
	const turn, n = 1000, 256
	get := func(o engine.Options) func() {
		api := hotObjectsOf(b, n, o).Objects()
		in := make([]object.GetInput, n)
		for i := range in {
			in[i] = object.GetInput{Bucket: "photos", Key: fmt.Sprintf("some/key/%04d.jpg", i)}
		}
		return func() {
			for i := range turn {
				out, err := api.Get(ctx, &in[i%n])
				if err != nil {
					b.Fatal(err)
				}
				_, _ = out.Body.(io.WriterTo).WriteTo(io.Discard)
				_ = out.Body.Close()
			}
		}
	}
	plain, learning := get(engine.Options{NoPrefetch: true, HotList: -1}), get(engine.Options{})
	timed := func(f func()) float64 {
		from := time.Now()
		f()
		return float64(time.Since(from)) / turn
	}
	var without, with, ratio []float64
	b.ResetTimer()
	for i := range b.N {
		var x, y float64
		if i%2 == 0 {
			x, y = timed(plain), timed(learning)
		} else {
			y, x = timed(learning), timed(plain)
		}
		without, with, ratio = append(without, x), append(with, y), append(ratio, 100*(y/x-1))
	}
	for _, s := range [][]float64{without, with, ratio} {
		slices.Sort(s)
	}
	at := func(s []float64, q float64) float64 { return s[int(q*float64(len(s)-1))] }
	b.ReportMetric(at(without, .5), "plain-ns/get")
	b.ReportMetric(at(with, .5), "learning-ns/get")
	b.ReportMetric(at(without, .1), "plain-p10-ns/get")
	b.ReportMetric(at(with, .1), "learning-p10-ns/get")
	b.ReportMetric(at(ratio, .5), "median-%")
	b.ReportMetric(at(ratio, .25), "p25-%")
	b.ReportMetric(at(ratio, .75), "p75-%")
}
