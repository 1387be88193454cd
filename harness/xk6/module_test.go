package xk6

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.k6.io/k6/js/modulestest"
	"go.k6.io/k6/lib"
	"go.k6.io/k6/metrics"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/harness/scenario"
)

// A vu is one VU in a test: its runtime, and the samples that it sent.
type vu struct {
	*modulestest.Runtime
	module  *Module
	samples chan metrics.SampleContainer
}

// newVU imports the module in a runtime's init context.
func newVU(t *testing.T, m *Module, number uint64) *vu {
	t.Helper()
	v := &vu{Runtime: modulestest.NewRuntime(t), module: m, samples: make(chan metrics.SampleContainer, 100_000)}
	registry := v.VU.InitEnvField.Registry
	require.NoError(t, v.SetupModuleSystem(map[string]any{"k6/x/cairn": m}, nil, nil))
	_, err := v.VU.Runtime().RunString(`const cairn = require("k6/x/cairn");`)
	require.NoError(t, err)
	t.Cleanup(func() { _ = number })
	v.VU.StateField = nil
	stateOf[v] = &lib.State{
		Samples: v.samples, VUIDGlobal: number, BuiltinMetrics: v.BuiltinMetrics,
		Tags: lib.NewVUStateTags(registry.RootTagSet()),
	}
	return v
}

var stateOf = map[*vu]*lib.State{}

// start ends the init context.
func (v *vu) start() { v.MoveToVUContext(stateOf[v]) }

// run returns what a piece of JavaScript is.
func (v *vu) run(t *testing.T, code string) any {
	t.Helper()
	got, err := v.VU.Runtime().RunString(code)
	require.NoError(t, err, code)
	return got.Export()
}

func (v *vu) throws(t *testing.T, code, want string) {
	t.Helper()
	_, err := v.VU.Runtime().RunString(code)
	require.ErrorContains(t, err, want, code)
}

// sums are the values of all samples so far, by metric; of trends, how many.
func (v *vu) sums() map[string]float64 {
	all := map[string]float64{}
	for {
		select {
		case c := <-v.samples:
			for _, s := range c.GetSamples() {
				name := s.Metric.Name
				if op, ok := s.Tags.Get("op"); ok {
					name += "{" + op + "}"
				}
				if s.Metric.Type == metrics.Trend {
					all[name]++
				} else {
					all[name] += s.Value
				}
			}
		default:
			return all
		}
	}
}

// server is Cairn over HTTP, and what to put before its answers.
func server(t *testing.T, before func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	s := unstarted(t, before)
	s.Start()
	return s.URL
}

func unstarted(t *testing.T, before func(http.ResponseWriter, *http.Request) bool) *httptest.Server {
	t.Helper()
	e, err := engine.Open(context.Background(), engine.Options{Dir: t.TempDir(), AccessKey: "access", SecretKey: "secret-secret", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			e.Handler().ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		for _, shared := range transports.by {
			shared.CloseIdleConnections()
		}
		s.Close()
		require.NoError(t, e.Close(context.Background()))
	})
	return s
}

func TestS3OverTLS(t *testing.T) {
	s := unstarted(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.ProtoMajor != 1 {
			w.WriteHeader(http.StatusHTTPVersionNotSupported)
		}
		return r.ProtoMajor != 1
	})
	s.EnableHTTP2 = true // offered, and not to be taken
	s.StartTLS()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	v := newVU(t, New(), 1)
	v.run(t, `const as = (more) => new cairn.S3(Object.assign({endpoint: "`+s.URL+`", accessKey: "access", secretKey: "secret-secret"}, more));
		const trusting = as({ca: "`+ca+`"}), careless = as({insecure: true}), strict = as({}), b = new cairn.Bodies({size: 100000})`)
	v.start()
	require.Equal(t, true, v.run(t, `trusting.createBucket("bucket").ok`))
	require.Equal(t, true, v.run(t, `careless.put("bucket", "k", b).ok`))
	require.Equal(t, true, v.run(t, `trusting.get("bucket", "k", b).ok`))
	require.Equal(t, "NoAnswer", v.run(t, `strict.put("bucket", "k", b).code`))
	require.Contains(t, v.run(t, `strict.head("bucket", "k").message`), "new S3 takes ca")
}

func TestS3OnARealServer(t *testing.T) {
	v := newVU(t, New(), 1)
	v.run(t, `const s3 = new cairn.S3({endpoint: "`+server(t, nil)+`", accessKey: "access", secretKey: "secret-secret"}); const b = new cairn.Bodies({seed: 3, size: 5000});`)
	v.start()
	for code, want := range map[string]any{} {
		require.Equal(t, want, v.run(t, code))
	}
	steps := []struct {
		code string
		want any
	}{
		{`s3.createBucket("bucket").ok && s3.createBucket("bucket").ok`, true},
		{`s3.put("bucket", "a key/with ü?&=+%", "hello").etag`, `"5d41402abc4b2a76b9719d911017c592"`},
		{`String.fromCharCode(...new Uint8Array(s3.get("bucket", "a key/with ü?&=+%").body))`, "hello"},
		{`s3.head("bucket", "a key/with ü?&=+%").status`, int64(200)},
		{`s3.head("bucket", "a key/with ü?&=+%").size`, int64(5)},
		{`s3.put("bucket", "native", b).size`, int64(5000)},
		{`s3.get("bucket", "native", b).ok`, true},
		{`s3.put("bucket", "other", b).ok`, true},
		{`s3.list("bucket").keys.join("|")`, "a key/with ü?&=+%|native|other"},
		{`const p1 = s3.list("bucket", {max: 2}); p1.truncated + p1.keys.join("|")`, "truea key/with ü?&=+%|native"},
		{`s3.list("bucket", {next: p1.next}).keys.join("|")`, "other"},
		{`s3.list("bucket", {prefix: "na"}).keys.length`, int64(1)},
		{`s3.delete("bucket", "other").status`, int64(204)},
		{`const gone = s3.get("bucket", "other"); [gone.ok, gone.status, gone.code, gone.body].join()`, "false,404,NoSuchKey,"},
		{`const m = s3.multipart("bucket", "big", [new Uint8Array(5*1024*1024).fill(1).buffer, "end"]); [m.ok, m.size].join()`, "true,5242883"},
		{`s3.get("bucket", "big").size`, int64(5242883)},
		{`s3.multipart("bucket", "big", ["too small", "end"]).code`, "EntityTooSmall"},
		{`s3.put("nowhere", "k", "x").code`, "NoSuchBucket"},
	}
	for _, s := range steps {
		require.Equal(t, s.want, v.run(t, s.code), s.code)
	}
	got := v.sums()
	for name, want := range map[string]float64{
		"cairn_s3_requests{bucket}": 2, "cairn_s3_requests{put}": 4, "cairn_s3_duration{put}": 3, "cairn_s3_failed{put}": 1,
		"cairn_s3_requests{get}": 4, "cairn_s3_failed{get}": 1, "cairn_s3_requests{list}": 4, "cairn_s3_duration{multipart}": 1, "cairn_s3_failed{multipart}": 1,
		"cairn_s3_sent{put}": 5 + 5000 + 5000 + 1,
	} {
		require.Equal(t, want, got[name], "%s of %v", name, got)
	}
	for name := range got {
		require.Contains(t, name, "cairn_s3_", "the wire counts on its own metrics only")
	}
}

func TestS3TellsWrongBytesAndNoAnswer(t *testing.T) {
	url := server(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/b/flipped":
			_, _ = w.Write(bytes.Repeat([]byte{9}, 100))
		case "/b/short":
			_, _ = w.Write([]byte{9})
		case "/b/cut":
			w.Header().Set("Content-Length", "100")
		case "/b/slow":
			<-r.Context().Done()
		case "/unsorted":
			_, _ = io.WriteString(w, "<L><Contents><Key>b</Key></Contents><Contents><Key>a</Key></Contents></L>")
		case "/html":
			_, _ = io.WriteString(w, "<html><br>")
		case "/b/error-in-200":
			if r.URL.Query().Has("uploads") {
				_, _ = io.WriteString(w, "<R><UploadId>u</UploadId></R>")
			} else if r.Method == "POST" {
				_, _ = io.WriteString(w, "<Error><Code>InternalError</Code><Message>late</Message></Error>")
			}
		default:
			return false
		}
		return true
	})
	v := newVU(t, New(), 1)
	v.run(t, `const s3 = new cairn.S3({endpoint: "`+url+`", accessKey: "access", secretKey: "secret-secret", timeout: 300}); const b = new cairn.Bodies({size: 100});
		const dead = new cairn.S3({endpoint: "http://127.0.0.1:1", accessKey: "a", secretKey: "b"});
		const wrong = new cairn.S3({endpoint: "`+url+`", accessKey: "access", secretKey: "x"});`)
	v.start()
	for code, want := range map[string]string{
		`s3.get("b", "flipped", b)`: "WrongBytes", `s3.get("b", "short", b)`: "WrongBytes", `s3.get("b", "cut")`: "NoAnswer", `s3.get("b", "slow")`: "NoAnswer",
		`s3.list("unsorted")`: "WrongBytes", `s3.list("html")`: "WrongBytes", `s3.multipart("b", "error-in-200", ["x"])`: "InternalError",
		`dead.get("b", "k")`: "NoAnswer", `wrong.createBucket("b")`: "SignatureDoesNotMatch",
	} {
		require.Equal(t, want, v.run(t, code+".code"), code)
		require.Equal(t, false, v.run(t, code+".ok"), code)
	}
	got := v.sums()
	require.Equal(t, 10., got["cairn_s3_failed{get}"])
	require.Zero(t, got["cairn_s3_duration{get}"], "failures are no latencies")
}

func TestCacheWritesAndDurablePutsAreNeverMixedUp(t *testing.T) {
	m := New()
	v := newVU(t, m, 1)
	dir := t.TempDir()
	v.run(t, `const cache = cairn.openCache({bytes: 16*1024*1024}); const e = cairn.open({dir: "`+dir+`"}); const batch = new cairn.Batch({count: 100, size: 64, keys: 1000});`)
	_, err := os.Stat(filepath.Join(dir, "log"))
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is opened by init code")
	v.start()
	require.EqualValues(t, 100, v.run(t, `cache.setMany(batch)`))
	require.EqualValues(t, 2, v.run(t, `cache.setMany([["a", "1"], ["b", new Uint8Array([1,2]).buffer]])`))
	require.EqualValues(t, 2, v.run(t, `cache.getMany(["a", "b", "c"])`))
	require.Equal(t, "1,2", v.run(t, `new Uint8Array(cache.get("b")).join()`))
	require.Nil(t, v.run(t, `cache.get("c")`))
	got := v.sums()
	require.Equal(t, 102., got["cairn_cache_writes"])
	require.Equal(t, 2., got["cairn_cache_write_duration"], "one for each call")
	require.Equal(t, 3., got["cairn_cache_reads"])
	require.Zero(t, got["cairn_durable_puts"])

	v.run(t, `e.createBucket("bucket"); e.createBucket("bucket")`)
	require.EqualValues(t, 100, v.run(t, `e.putMany("bucket", batch)`))
	require.EqualValues(t, 1, v.run(t, `e.putMany("bucket", [["k", "value"]])`))
	require.EqualValues(t, 1, v.run(t, `e.getMany("bucket", ["k", "not there"])`))
	v.throws(t, `e.putMany("nowhere", [["k", "v"]])`, "engine.putMany: k")
	got = v.sums()
	require.Equal(t, 101., got["cairn_durable_puts"])
	require.Equal(t, 1., got["cairn_durable_put_failed"])
	require.Equal(t, 2., got["cairn_engine_gets"])
	require.Zero(t, got["cairn_cache_writes"])

	res := m.tallies.result()
	require.EqualValues(t, 102, res.Ops["CACHE_SET"].Count)
	require.EqualValues(t, 102, res.Ops["CACHE_SET"].Latency.Count())
	require.EqualValues(t, 101, res.Ops["DURABLE_PUT"].Count)
	require.EqualValues(t, 1, res.Ops["DURABLE_PUT"].Errors)

	// What was put is there after a restart; what was in the cache is not asked for.
	v.run(t, `e.close(); e.close(); cache.close()`)
	v.throws(t, `e.putMany("bucket", batch)`, "closed")
	v.throws(t, `cache.setMany(batch)`, "closed")
	again, err := engine.Open(context.Background(), engine.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	info, err := again.Objects().Usage(context.Background(), "bucket")
	require.NoError(t, err)
	require.Greater(t, info.Objects, int64(50), "100 of 1000 keys, some twice, and one")
	require.NoError(t, again.Close(context.Background()))
}

func TestVUsShareWhatIsOpen(t *testing.T) {
	m, dir := New(), t.TempDir()
	a, b := newVU(t, m, 1), newVU(t, m, 2)
	for _, v := range []*vu{a, b} {
		v.run(t, `const cache = cairn.openCache({bytes: 16*1024*1024}); const e = cairn.open({dir: "`+dir+`"}); const batch = new cairn.Batch({count: 10, size: 8});`)
	}
	a.throws(t, `cairn.openCache({bytes: 32*1024*1024})`, "is open with 16777216 bytes")
	a.throws(t, `cairn.open({dir: "`+dir+`", cacheBytes: -1})`, "other options")
	a.start()
	b.start()
	a.run(t, `cache.setMany([["a", "1"]]); e.createBucket("bucket"); e.putMany("bucket", batch)`)
	b.run(t, `e.putMany("bucket", batch)`)
	require.EqualValues(t, 1, b.run(t, `cache.getMany(["a"])`))
	info, err := m.mu.engines[dir].mu.it.Objects().Usage(context.Background(), "bucket")
	require.NoError(t, err)
	require.EqualValues(t, 20, info.Objects, "two VUs make different keys of one seed")
	b.run(t, `e.close(); cache.close()`)
}

func TestMisuseThrowsWithTheReason(t *testing.T) {
	v := newVU(t, New(), 1)
	dir := t.TempDir()
	for code, want := range map[string]string{
		`new cairn.S3()`: "want http://host", `new cairn.S3({endpoint: "ftp://x"})`: "want http://host", `new cairn.S3({endpoint: "http://x", accessKey: "a", secretKey: "b", timeout: 9223372036854775})`: "to a day", `new cairn.S3({endpoint: "http://x", insecure: true})`: "is for https://",
		`new cairn.S3({endpoint: "https://x", ca: "/nonexistent.pem"})`: "read CA file", `new cairn.S3({endpoint: "https://x/bucket"})`: "want https://x alone", `new cairn.S3({endpoint: "http://x"})`: "accessKey",
		`new cairn.S3({endpoint: "http://x", acessKey: "a"})`: `unknown field "acessKey"`,
		`new cairn.Batch({})`: "count of 1", `new cairn.Batch({count: 65536, size: 1e6})`: "1 GiB", `new cairn.Bodies({})`: "size",
		`cairn.open({})`: "dir is missing", `cairn.openCache({bytes: 5})`: "less than", `cairn.headline("moon")`: "cache-writes, durable-puts",
		`cairn.openCache({bytes: 16*1024*1024}).setMany([["a","b"]])`: "init context", `cairn.open({dir: "` + dir + `"}).putMany("b", [["a","b"]])`: "init context",
	} {
		v.throws(t, code, want)
	}
	v.run(t, `const cache = cairn.openCache({name: "x", bytes: 16*1024*1024}); const s3 = new cairn.S3({endpoint: "http://x", accessKey: "a", secretKey: "b"})`)
	v.start()
	for code, want := range map[string]string{
		`cache.setMany("a")`: "want a Batch", `cache.setMany([])`: "want a Batch", `cache.setMany([["a"]])`: "element 0: want a pair", `cache.setMany([[1, "x"]])`: "want a key",
		`cache.setMany([["a", {}]])`: "value", `cache.getMany([1])`: "want a key", `s3.put("b", "k")`: "body is missing", `s3.get("b", "k", "x")`: "want Bodies",
		`cache.setMany()`: "want a Batch", `cache.getMany()`: "want a Batch", `s3.multipart("b", "k")`: "parts", `s3.multipart("b", "k", [])`: "parts", `s3.list("b", {pre: "x"})`: "unknown field",
	} {
		v.throws(t, code, want)
	}
	require.Empty(t, v.sums(), "nothing of it is counted")
	v.run(t, `cache.close()`)
}

func TestHeadlineAndResult(t *testing.T) {
	t.Setenv(scenario.EnvCores, "2")
	t.Setenv(scenario.EnvMemory, "17179869184")
	v := newVU(t, New(), 1)
	require.Equal(t, "250000,1000000,10,0.25", v.run(t, `const h = cairn.headline("cache-writes"); [h.rate, h.targetRate, h.p99, h.scale].join()`))
	require.Equal(t, "cannot tell", v.run(t, `h.verdict().outcome`))
	require.Equal(t, "", v.run(t, `cairn.result("cache-writes")`))
	v.run(t, `const cache = cairn.openCache({bytes: 16*1024*1024}); const batch = new cairn.Batch({count: 64, size: 8, keys: 10})`)
	v.start()
	v.run(t, `for (let i = 0; i < 100; i++) cache.setMany(batch)`)
	outcome := v.run(t, `h.verdict().outcome`)
	require.Contains(t, []any{"pass", "scaled pass", "fail"}, outcome)
	require.Equal(t, "cannot tell", v.run(t, `cairn.headline("durable-puts").verdict().outcome`), "cache writes say nothing of durable puts")
	var r scenario.EngineResult
	require.NoError(t, json.Unmarshal([]byte(v.run(t, `cairn.result("cache-writes")`).(string)), &r))
	require.EqualValues(t, 6400, r.Result.Ops["CACHE_SET"].Latency.Count())
	require.Positive(t, r.Result.Elapsed)
	v.run(t, `cache.close()`)

	t.Setenv(scenario.EnvCores, "many")
	v.throws(t, `cairn.headline("cache-writes")`, "CAIRN_CORES")
}

// The documentation of the JavaScript side names what there is, and no more.
func TestTheDeclarationsNameWhatThereIs(t *testing.T) {
	text, err := os.ReadFile("index.d.ts")
	require.NoError(t, err)
	v := newVU(t, New(), 1)
	for name := range (&instance{module: v.module, vu: v.VU}).Exports().Named {
		require.Regexp(t, regexp.MustCompile(`export (class|function) `+name+`\b`), string(text))
	}
	v.run(t, `const made = {S3: new cairn.S3({endpoint: "http://x", accessKey: "a", secretKey: "b"}), Batch: new cairn.Batch({count: 1}), Bodies: new cairn.Bodies({size: 1}),
		Engine: cairn.open({dir: "/nonexistent/x"}), Cache: cairn.openCache({bytes: 16*1024*1024}), Headline: cairn.headline("cache-writes")}`)
	method := regexp.MustCompile(`(?m)^  ([a-zA-Z]+)\(`)
	for class, body := range classes(string(text)) {
		for _, m := range method.FindAllStringSubmatch(body, -1) {
			if m[1] != "constructor" {
				require.Equal(t, "function", v.run(t, `typeof made.`+class+`.`+m[1]), "%s.%s", class, m[1])
			}
		}
	}
}

// classes are the bodies of the classes of a declaration file.
func classes(text string) map[string]string {
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)export class (\w+) \{(.*?)\n\}`).FindAllStringSubmatch(text, -1) {
		all[m[1]] = m[2]
	}
	return all
}

func FuzzPage(f *testing.F) {
	f.Add([]byte("<L><Contents><Key>a</Key></Contents><IsTruncated>true</IsTruncated></L>"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := pageOf(Answer{OK: true}, data)
		if !a.OK && a.Code == "" {
			t.Fatal("refused without a reason")
		}
		code, _ := errorOf(data)
		if code == "" {
			t.Fatal("an error without a code")
		}
	})
}

func FuzzOptions(f *testing.F) {
	f.Add([]byte(`{"endpoint": "x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var o s3Options
		if err := decodeOptions(data, &o); err != nil && !strings.HasPrefix(err.Error(), "options: ") {
			t.Fatal(errors.New("an error without its place"))
		}
	})
}
