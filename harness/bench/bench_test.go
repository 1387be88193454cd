package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/sink"
	"github.com/cairnstore/cairn/harness/system"
	"github.com/cairnstore/cairn/harness/target"
)

// The test binary is every server: an empty one, which answers after the delay
// that its first argument says. Its arguments are those of Sink.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "be-a-sink" {
		serve(os.Args[2:])
		return
	}
	goleak.VerifyTestMain(m)
}

// slowListener's connections answer each request late.
type slowListener struct {
	net.Listener
	delay time.Duration
}

type slowConn struct {
	net.Conn
	delay time.Duration
}

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return slowConn{c, l.delay}, err
}

func (c slowConn) Write(p []byte) (int, error) {
	time.Sleep(c.delay)
	return c.Conn.Write(p)
}

func serve(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	delay, _ := time.ParseDuration(args[0])
	c, ok := caseByName(args[4])
	seed, _ := strconv.ParseUint(args[6], 10, 64)
	l, err := net.Listen("tcp", args[2])
	if err != nil || !ok {
		os.Exit(1)
	}
	s := sink.New(slowListener{l, delay}, SinkAnswers(c, seed))
	context.AfterFunc(ctx, func() { _ = s.Close() })
	_ = s.Serve()
}

func emptyServer(name, delay string, c Case, seed uint64) target.Server {
	s := Sink(os.Args[0], seed, c, "be-a-sink", delay)
	s.Name, s.Durability = name, name+"'s durability"
	return s
}

func mustCase(t *testing.T, name string) Case {
	t.Helper()
	c, ok := caseByName(name)
	require.True(t, ok)
	return c
}

func TestCompareRunsInterleavedAndFindsWhoIsFaster(t *testing.T) {
	c := mustCase(t, "put4k")
	dir := t.TempDir()
	var lines bytes.Buffer
	o := CompareOptions{
		Servers: []target.Server{emptyServer("fast", "1ms", c, 3), emptyServer("slow", "40ms", c, 3)},
		Cases:   []Case{c}, Dir: dir, Rounds: 2, Warmup: 50 * time.Millisecond, Duration: 400 * time.Millisecond, Seed: 3, Lines: &lines,
		Sink: func(c Case) target.Server { return Sink(os.Args[0], 3, c, "be-a-sink", "0s") },
	}
	rec, err := Compare(t.Context(), o)
	require.NoError(t, err)

	var who []string
	for _, r := range rec.Runs {
		require.Positive(t, r.Result.Total().Count)
		require.Empty(t, r.Result.Failures)
		require.NotEmpty(t, r.Durability)
		require.NotNil(t, r.Server)
		who = append(who, r.Target+strconv.Itoa(r.Round))
	}
	require.Equal(t, []string{"sink1", "fast1", "slow1", "slow2", "fast2"}, who)

	table := o.Table(rec)
	require.Len(t, table.Rows, 2)
	require.Len(t, table.Ratios, 1)
	require.Greater(t, table.Ratios[0].Min, 1.5)
	require.Greater(t, table.Rows[1].P50, 10*time.Millisecond)
	var text strings.Builder
	require.NoError(t, table.Write(&text))
	for _, row := range table.Rows {
		require.Contains(t, text.String(), row.Durability)
	}
	for _, m := range rec.Metrics {
		require.NotEmpty(t, m.Durability, m.Name)
	}
	require.Contains(t, lines.String(), "— put4k on slow, round 2 of 2")
	_, err = json.Marshal(rec)
	require.NoError(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "all that was made is removed")
}

func TestEveryCaseRunsAgainstASink(t *testing.T) {
	for _, c := range Cases {
		if c.Name == "delete" {
			continue // a sink has no end of objects: below
		}
		rec := record.New("ceiling", ".", 5)
		require.NoError(t, Ceiling(t.Context(), rec, CeilingOptions{
			Sink: func(c Case) target.Server { return Sink(os.Args[0], 5, c, "be-a-sink", "0s") }, Cases: []Case{c}, Dir: t.TempDir() + "/sink", Duration: 100 * time.Millisecond, Seed: 5,
		}), c.Name)
		require.Empty(t, rec.Runs[0].Result.Failures, c.Name)
		require.Positive(t, rec.Runs[0].Result.Total().Count, c.Name)
	}
}

func TestDeletesAgainstASinkDoNotRunOut(t *testing.T) {
	require.Greater(t, AgainstSink(mustCase(t, "delete")).Stored, uint64(1e12))
}

func TestAMissingBinaryIsToldBeforeAnythingRuns(t *testing.T) {
	var lines bytes.Buffer
	_, err := Compare(t.Context(), CompareOptions{Servers: []target.Server{target.MinIO("/nonexistent/minio")}, Cases: Cases[:1], Rounds: 1, Duration: time.Second, Lines: &lines})
	require.ErrorContains(t, err, "minio")
	require.Empty(t, lines.String())
}

func TestLatencyIsOfAShareOfTheCapacityUnderTheBackground(t *testing.T) {
	tracer, err := system.Trace(os.Getpid())
	countable := err == nil
	if countable {
		require.NoError(t, tracer.Close())
	} else {
		require.ErrorIs(t, err, system.ErrNoTracer)
	}
	c := mustCase(t, "put4k")
	rec, err := Latency(t.Context(), LatencyOptions{
		Server: emptyServer("server", "2ms", c, 1), Dir: t.TempDir(), Connections: 2, Size: 4096, Objects: 20, Settle: 1.5, Rounds: 2, Warmup: 100 * time.Millisecond,
		Capacity: 500 * time.Millisecond, Duration: time.Second, Share: .5, UploadSize: 1 << 20, UploadRate: 20e6, UploadStreams: 1, Seed: 1, Floor: 500 * time.Millisecond,
	})
	require.NoError(t, err)
	got := map[string]float64{}
	for _, m := range rec.Metrics {
		require.LessOrEqual(t, m.Min, m.Value, m.Name)
		require.GreaterOrEqual(t, m.Max, m.Value, m.Name)
		if !strings.HasPrefix(m.Name, "latency.floor.") {
			require.Equal(t, "server's durability", m.Durability)
		}
		got[strings.TrimPrefix(m.Name, "latency.server.")] = m.Value
	}
	var runs []string
	for _, r := range rec.Runs {
		runs = append(runs, fmt.Sprint(r.Case, " ", r.Round))
		require.Positive(t, r.Result.Ops["OVERWRITE"].Count, "of what was stored before")
		require.Len(t, r.Result.Ops, 1)
		if countable {
			n := r.Result.Total().Count
			require.Greater(t, r.Server.SystemCalls, n, "each is read and answered")
			require.Less(t, r.Server.SystemCalls, 100*n)
		}
	}
	require.Equal(t, []string{"capacity 1", "latency 1", "capacity 2", "latency 2"}, runs)
	require.InEpsilon(t, got["capacity"]/2, got["offered"], .3)
	require.InEpsilon(t, got["offered"], got["achieved"], .1)
	require.Greater(t, got["p50"], 2000.)
	require.Greater(t, got["latency.background"], 10.)
	require.Positive(t, got["background_objects"])
	require.Greater(t, got["latency.floor.p99"], got["latency.floor.p50"])
	require.Greater(t, got["latency.floor.background"], 5.)
	require.GreaterOrEqual(t, got["latency.floor.group"], 1.)
	require.InEpsilon(t, got["p99"]/got["latency.floor.p99"], got["p99_to_floor"], .01)
	require.Zero(t, got["errors"])
}

func TestSpreadIsMedianAndEnds(t *testing.T) {
	require.Equal(t, Spread{2, 1, 9}, spread([]float64{9, 1, 2}))
	require.Equal(t, Spread{2.5, 1, 9}, spread([]float64{9, 1, 2, 3}))
	require.Equal(t, Spread{}, spread(nil))
}

func runOf(c, server string, round int, count, items int64, cpu time.Duration) record.Run {
	latency := measure.NewHistogram()
	latency.Record(time.Millisecond)
	return record.Run{Case: c, Target: server, Durability: "d", Round: round, Server: &system.Sample{User: cpu, HighRSS: count},
		Result: &load.Result{Elapsed: 2 * time.Second, Ops: map[string]load.OpResult{"X": {Count: count, Items: items, Bytes: 1e6, Latency: latency}}}}
}

func TestSummaryOfKnownRuns(t *testing.T) {
	list := mustCase(t, "list")
	runs := []record.Run{
		runOf("list", "a", 1, 100, 100_000, time.Second), runOf("list", "b", 1, 50, 50_000, time.Second),
		runOf("list", "b", 2, 50, 50_000, time.Second), runOf("list", "a", 2, 300, 300_000, time.Second),
	}
	a, b := summarize(list, "a", runs), summarize(list, "b", runs)
	require.Equal(t, Spread{100_000, 50_000, 150_000}, a.Rate)
	require.InDelta(t, 5000, a.ServerCPU, 1) // 2 s for 400 pages
	require.InDelta(t, .5, a.MBps, .001)
	require.EqualValues(t, 300, a.RSS)
	r := ratios([]Row{a, b})
	require.Len(t, r, 1)
	require.Equal(t, Spread{4, 2, 6}, r[0].Spread)
	require.InDelta(t, 4, r[0].CPU, .001) // 20,000 over 5,000
}

func TestLoudNeighboursAreNamed(t *testing.T) {
	rec := &record.Record{Machine: record.Machine{Cores: 2}}
	quiet, loud := runOf("list", "a", 1, 1, 1, 0), runOf("list", "b", 1, 1, 1, 0)
	loud.Others, loud.Stolen = time.Second, 200*time.Millisecond
	rec.Runs = []record.Run{quiet, loud}
	WarnOfNoise(rec)
	require.Equal(t, []string{
		"list on b, round 1: other processes took 25 % of the machine",
		"list on b, round 1: the hypervisor took 5 % of the machine",
	}, rec.Warnings)
}

func TestCasesByName(t *testing.T) {
	all, err := CasesByName(nil)
	require.NoError(t, err)
	require.Len(t, all, DefaultCases)
	_, err = CasesByName([]string{"get4k", "nothing"})
	require.ErrorContains(t, err, "there are put4k")
}

func TestCountsHaveGroups(t *testing.T) {
	for v, want := range map[float64]string{7.25: "7.2", 123: "123", 1234: "1,234", 1234567: "1,234,567"} {
		require.Equal(t, want, count(v))
	}
}

func TestARoundInWhichRequestsFailHasNoRate(t *testing.T) {
	c := mustCase(t, "put4k")
	run := func(server string, round int, count, errors int64) record.Run {
		h := measure.NewHistogram()
		h.Record(time.Millisecond)
		return record.Run{Case: c.Name, Target: server, Round: round, Result: &load.Result{
			Elapsed: time.Second, Ops: map[string]load.OpResult{"put": {Latency: h, Count: count, Errors: errors}},
		}}
	}
	runs := []record.Run{
		run("a", 1, 1000, 10), run("a", 2, 100, 90), run("b", 1, 500, 0), run("b", 2, 500, 0),
		run("full", 1, 50, 1000), run("full", 2, 50, 1000),
	}
	var rows []Row
	for _, server := range []string{"a", "b", "full"} {
		rows = append(rows, summarize(c, server, runs))
	}
	require.Equal(t, Spread{1000, 1000, 1000}, rows[0].Rate)
	require.Zero(t, rows[2].Rate)
	require.EqualValues(t, 100, rows[0].Errors)
	table := CompareOptions{Servers: []target.Server{{Name: "a"}, {Name: "b"}, {Name: "full"}}, Cases: []Case{c}}.Table(&record.Record{Runs: runs})
	require.Len(t, table.Rows, 3, "who failed is not left out")
	require.EqualValues(t, 2000, table.Rows[2].Errors)
	all := ratios(rows)
	require.Len(t, all, 1, "there is nothing to say of one that was full")
	require.Equal(t, Spread{2, 2, 2}, all[0].Spread)
}

func TestWhatACaseStoresServesItsRounds(t *testing.T) {
	for name, keeps := range map[string]bool{"put4k": false, "get4k": true, "list": true, "delete": false, "mixed": true} {
		require.Equal(t, keeps, mustCase(t, name).keeps(1), name)
	}
}
