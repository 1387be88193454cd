package xk6

import (
	"errors"
	"fmt"
	"time"

	"go.k6.io/k6/metrics"
)

// An operation is what is counted under one name.
type operation string

// The operations. Those of the engine and those of the cache have metrics of
// their own; those of the wire are told apart by the tag op.
const (
	s3Put       operation = "put"
	s3Get       operation = "get"
	s3Head      operation = "head"
	s3List      operation = "list"
	s3Delete    operation = "delete"
	s3Multipart operation = "multipart"
	s3Bucket    operation = "bucket"

	cacheSet   operation = "CACHE_SET"
	cacheGet   operation = "CACHE_GET"
	durablePut operation = "DURABLE_PUT"
	engineGet  operation = "ENGINE_GET"
)

// A series is the metrics of one kind of operation.
type series struct {
	count    *metrics.Metric // counter
	duration *metrics.Metric // trend, of calls: each of a batch waited for the whole
	failed   *metrics.Metric // rate
}

// A metricSet is all metrics of the extension.
type metricSet struct {
	s3             series
	sent, received *metrics.Metric
	engine         map[operation]series
}

func newMetricSet(r *metrics.Registry) (*metricSet, error) {
	var problems []error
	make := func(name string, kind metrics.MetricType, values ...metrics.ValueType) *metrics.Metric {
		m, err := r.NewMetric(name, kind, values...)
		if err != nil {
			problems = append(problems, fmt.Errorf("metric %s: %w", name, err))
		}
		return m
	}
	of := func(count, duration string) series {
		return series{
			make(count, metrics.Counter), make(duration+"_duration", metrics.Trend, metrics.Time), make(duration+"_failed", metrics.Rate),
		}
	}
	set := &metricSet{
		s3:   of("cairn_s3_requests", "cairn_s3"),
		sent: make("cairn_s3_sent", metrics.Counter, metrics.Data), received: make("cairn_s3_received", metrics.Counter, metrics.Data),
		engine: map[operation]series{
			cacheSet:   of("cairn_cache_writes", "cairn_cache_write"),
			cacheGet:   of("cairn_cache_reads", "cairn_cache_read"),
			durablePut: of("cairn_durable_puts", "cairn_durable_put"),
			engineGet:  of("cairn_engine_gets", "cairn_engine_get"),
		},
	}
	return set, errors.Join(problems...)
}

// errInit: k6 counts nothing outside an iteration, setup or teardown.
var errInit = errors.New("not in the init context: call it in setup, teardown or an iteration")

// inVU is an error in the init context.
func (i *instance) inVU() error {
	if i.vu.State() == nil {
		return errInit
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// countBatch counts a call that did n things of one kind, of which failed did not succeed.
func (i *instance) countBatch(op operation, began, ended time.Time, n, failed, bytes int64) {
	i.tally.count(op, began, ended, n, failed, bytes)
	s := i.metrics.engine[op]
	tags := i.vu.State().Tags.GetCurrentValues().Tags
	samples := metrics.Samples{
		{TimeSeries: metrics.TimeSeries{Metric: s.count, Tags: tags}, Time: ended, Value: float64(n - failed)},
		{TimeSeries: metrics.TimeSeries{Metric: s.failed, Tags: tags}, Time: ended, Value: oneIf(failed > 0)},
	}
	if n > failed {
		samples = append(samples, metrics.Sample{TimeSeries: metrics.TimeSeries{Metric: s.duration, Tags: tags}, Time: ended, Value: milliseconds(ended.Sub(began))})
	}
	metrics.PushIfNotDone(i.vu.Context(), i.vu.State().Samples, samples)
}

// countRequest counts one S3 operation.
func (i *instance) countRequest(op operation, began, ended time.Time, failed bool, sent, received int64) {
	n := boolToInt(failed)
	i.tally.count("S3_"+op, began, ended, 1, n, sent+received)
	tags := i.vu.State().Tags.GetCurrentValues().Tags.With("op", string(op))
	at := func(m *metrics.Metric, value float64) metrics.Sample {
		return metrics.Sample{TimeSeries: metrics.TimeSeries{Metric: m, Tags: tags}, Time: ended, Value: value}
	}
	samples := metrics.Samples{at(i.metrics.s3.count, 1), at(i.metrics.s3.failed, float64(n)), at(i.metrics.sent, float64(sent)), at(i.metrics.received, float64(received))}
	if !failed {
		samples = append(samples, at(i.metrics.s3.duration, milliseconds(ended.Sub(began))))
	}
	metrics.PushIfNotDone(i.vu.Context(), i.vu.State().Samples, samples)
}

func boolToInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func oneIf(b bool) float64 { return float64(boolToInt(b)) }
