package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// scrape reads the exposition as a Prometheus server would.
func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.NewTextHandler(io.Discard, nil))).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code, w.Body.String())
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(w.Body)
	require.NoError(t, err)
	return families
}

// value sums a family's values over the series whose labels include want ("k=v", ...).
func value(f *dto.MetricFamily, want ...string) float64 {
	var sum float64
	for _, m := range f.GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[l.GetName()+"="+l.GetValue()] = true
		}
		all := true
		for _, w := range want {
			all = all && have[w]
		}
		if all {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func TestRequestsAreExposed(t *testing.T) {
	m := NewMetrics(Build{Version: "v1", Commit: "abc"})
	m.Requests.Begin()
	m.Requests.Begin()
	m.Requests.Begin()
	m.Requests.Done(Request{Operation: "PutObject", Status: 200, In: 4096, Duration: time.Millisecond})
	m.Requests.Done(Request{Operation: "GetObject", Status: 404, Code: "NoSuchKey", Out: 300, Duration: 30 * time.Second})
	m.Requests.Refused()

	f := scrape(t, m)
	require.Equal(t, 1.0, value(f["cairn_s3_requests_total"], "operation=PutObject", "status=200"))
	require.Equal(t, 1.0, value(f["cairn_s3_requests_total"], "operation=GetObject", "status=404"))
	require.Equal(t, 4096.0, value(f["cairn_s3_received_bytes_total"], "operation=PutObject"))
	require.Equal(t, 300.0, value(f["cairn_s3_sent_bytes_total"], "operation=GetObject"))
	require.Equal(t, 1.0, value(f["cairn_s3_errors_total"], "code=NoSuchKey"))
	require.Equal(t, 1.0, value(f["cairn_s3_requests_in_flight"]))
	require.Equal(t, 1.0, value(f["cairn_s3_requests_refused_total"]))
	require.Equal(t, 1.0, value(f["cairn_s3_request_seconds"], "operation=GetObject"))
	require.Equal(t, 1.0, value(f["cairn_build_info"], "version=v1", "commit=abc"))
	require.Contains(t, f, "go_goroutines")
	require.Contains(t, f, "process_start_time_seconds")
}

func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics(Build{})
	for i := range 2000 {
		m.Requests.Begin()
		m.Requests.Done(Request{Operation: fmt.Sprint("op", i), Status: 100000 + i, Code: fmt.Sprint("code", i)})
	}
	f := scrape(t, m)
	require.Len(t, f["cairn_s3_errors_total"].GetMetric(), maxCodes)
	require.Len(t, f["cairn_s3_received_bytes_total"].GetMetric(), maxOperations)
	require.Equal(t, float64(2000-maxCodes+1), value(f["cairn_s3_errors_total"], "code=other"))
	require.Equal(t, 2000.0, value(f["cairn_s3_requests_total"], "status=500"))
}

func TestRequestsCountExactlyUnderConcurrency(t *testing.T) {
	m := NewMetrics(Build{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				m.Requests.Begin()
				m.Requests.Done(Request{Operation: fmt.Sprint("op", (g+i)%20), Status: 200 + i%5, Code: fmt.Sprint("c", i%30), In: 1})
			}
		})
	}
	wg.Wait()
	f := scrape(t, m)
	require.Equal(t, 4000.0, value(f["cairn_s3_requests_total"]))
	require.Equal(t, 4000.0, value(f["cairn_s3_errors_total"]))
	require.Equal(t, 4000.0, value(f["cairn_s3_request_seconds"]))
	require.Equal(t, 0.0, value(f["cairn_s3_requests_in_flight"]))
}

func TestObservationAllocatesNothing(t *testing.T) {
	m := NewMetrics(Build{})
	q := Request{Operation: "PutObject", Status: 400, Code: "BadDigest", In: 10, Out: 10, Duration: time.Millisecond}
	m.Requests.Begin()
	m.Requests.Done(q)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		m.Requests.Begin()
		m.Requests.Done(q)
	}))
}

func BenchmarkObservation(b *testing.B) {
	m := NewMetrics(Build{})
	q := Request{Operation: "PutObject", Status: 200, In: 4096, Duration: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		m.Requests.Begin()
		m.Requests.Done(q)
	}
}

func TestSource(t *testing.T) {
	m := NewMetrics(Build{})
	m.Source(func(s *Scrape) {
		s.Reading(Reading{Name: "cairn_store_free_bytes", Help: "Free.", Value: 7})
		s.Reading(Reading{Name: "cairn_store_syncs_total", Help: "Syncs.", Kind: Counter, Label: "log", LabelValue: "0", Value: 2})
		s.Reading(Reading{Name: "cairn_store_syncs_total", Help: "Syncs.", Kind: Counter, Label: "log", LabelValue: "1", Value: 3})
		s.Distribution(Distribution{Name: "cairn_store_group_records", Help: "Records a group.", Count: 6, Sum: 31,
			Bounds: []float64{1, 10}, Buckets: []uint64{3, 2}})
	})
	f := scrape(t, m)
	require.Equal(t, dto.MetricType_GAUGE, f["cairn_store_free_bytes"].GetType())
	require.Equal(t, 7.0, value(f["cairn_store_free_bytes"]))
	require.Equal(t, 3.0, value(f["cairn_store_syncs_total"], "log=1"))
	h := f["cairn_store_group_records"].GetMetric()[0].GetHistogram()
	require.Equal(t, uint64(6), h.GetSampleCount())
	require.Equal(t, 31.0, h.GetSampleSum())
	require.Equal(t, uint64(3), h.GetBucket()[0].GetCumulativeCount())
	require.Equal(t, uint64(5), h.GetBucket()[1].GetCumulativeCount())
}

func TestBadReadingIsLeftOutAndTheRestServed(t *testing.T) {
	m := NewMetrics(Build{})
	m.Source(func(s *Scrape) {
		s.Reading(Reading{Name: "not a name", Value: 1, Label: "\xff", LabelValue: "\xff"})
		s.Distribution(Distribution{Name: "cairn_lopsided", Bounds: []float64{1}})
		s.Reading(Reading{Name: "cairn_good", Help: "Good.", Value: 1})
	})
	var logged bytes.Buffer
	w := httptest.NewRecorder()
	m.Handler(NewLogger(&logged, slog.LevelInfo)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Body.String(), "cairn_good 1")
	require.NotContains(t, w.Body.String(), "cairn_lopsided")
	require.Contains(t, logged.String(), "cairn_lopsided")
}

func TestAccessLog(t *testing.T) {
	fast, slow := time.Millisecond, time.Minute
	for _, c := range []struct {
		name      string
		all       bool
		status    int
		duration  time.Duration
		wantLevel string // empty: no line
	}{
		{"success", false, 200, fast, ""},
		{"the caller's error", false, 404, fast, ""},
		{"our error", false, 500, fast, "ERROR"},
		{"full", false, 507, fast, ""},
		{"busy", false, 503, fast, ""},
		{"slow", false, 200, slow, "WARN"},
		{"all", true, 200, fast, "INFO"},
		{"all, busy", true, 503, fast, "WARN"},
		{"not built", false, 501, fast, ""},
		{"all, not built", true, 501, fast, "WARN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			l := &AccessLog{Log: NewLogger(&out, slog.LevelInfo), All: c.all, Slow: time.Second}
			l.Write(context.Background(), Access{
				Request:   Request{Operation: "GetObject", Status: c.status, Code: "Code", Duration: c.duration},
				RequestID: "ID", Bucket: "b", Key: "new\nline", Err: errors.New("cause"),
			})
			if c.wantLevel == "" {
				require.Empty(t, out.String())
				return
			}
			require.Equal(t, 1, strings.Count(out.String(), "\n"), "one line a request, whatever the key")
			var line map[string]any
			require.NoError(t, json.Unmarshal(out.Bytes(), &line))
			require.Equal(t, c.wantLevel, line["level"])
			require.Equal(t, "ID", line["request_id"])
			require.Equal(t, "new\nline", line["key"])
			require.Equal(t, "cause", line["error"])
		})
	}
}

func TestParseLevel(t *testing.T) {
	l, err := ParseLevel("warn")
	require.NoError(t, err)
	require.Equal(t, slog.LevelWarn, l)
	_, err = ParseLevel("loud")
	require.ErrorContains(t, err, "debug, info, warn or error")
}
