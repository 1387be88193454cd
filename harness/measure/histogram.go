// Package measure keeps what a load observes: latencies in HDR histograms that
// merge without loss, so that a percentile is of all operations and never a
// mean of percentiles.
package measure

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Range and precision of every histogram: one geometry, so that all merge exactly.
const (
	shortest = time.Microsecond
	longest  = 10 * time.Minute
	digits   = 3
)

// A Histogram counts latencies from 1 µs to 10 min at three significant digits
// (HdrHistogram). Values outside are counted at the nearest end. Not safe for
// concurrent use: each worker records into its own, and they are merged.
type Histogram struct{ h *hdr.Histogram }

// NewHistogram returns an empty one, of about 250 KiB.
func NewHistogram() *Histogram {
	return &Histogram{hdr.New(int64(shortest), int64(longest), digits)}
}

// Record counts one latency. It does not allocate.
func (h *Histogram) Record(d time.Duration) {
	v := min(max(int64(d), int64(shortest)), int64(longest))
	if err := h.h.RecordValue(v); err != nil {
		panic("measure: value within the range was refused: " + err.Error())
	}
}

// RecordN counts n latencies that are all d, as those of a batch are.
func (h *Histogram) RecordN(d time.Duration, n int64) {
	v := min(max(int64(d), int64(shortest)), int64(longest))
	if err := h.h.RecordValues(v, n); err != nil {
		panic("measure: value within the range was refused: " + err.Error())
	}
}

// Merge adds what other counted.
func (h *Histogram) Merge(other *Histogram) { h.h.Merge(other.h) }

// Reset forgets all that was counted.
func (h *Histogram) Reset() { h.h.Reset() }

// Count is the number of latencies recorded.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// Quantile returns the latency that a share q, 0 to 1, of all stayed within; 0 when empty.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	// The library rounds the rank, which would leave out the slowest of 66 at 99 %.
	n := float64(h.Count())
	rank := math.Ceil(q*n - 1e-9)
	return time.Duration(h.h.ValueAtQuantile(100 * rank / n))
}

// Mean is the arithmetic mean; 0 when empty.
func (h *Histogram) Mean() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Mean())
}

// Max is the longest latency; 0 when empty.
func (h *Histogram) Max() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Max())
}

// histogramJSON carries the summary for readers without a decoder, and the
// whole in HdrHistogram's own compressed V2 encoding (base64), in nanoseconds.
type histogramJSON struct {
	Count  int64   `json:"count"`
	MeanUS float64 `json:"mean_us"`
	P50US  float64 `json:"p50_us"`
	P90US  float64 `json:"p90_us"`
	P99US  float64 `json:"p99_us"`
	P999US float64 `json:"p999_us"`
	MaxUS  float64 `json:"max_us"`
	HDR    string  `json:"hdr_v2_compressed_ns"`
}

// MarshalJSON writes the summary in µs and the compressed histogram.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	raw, err := h.h.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("encode histogram: %w", err)
	}
	return json.Marshal(histogramJSON{
		Count: h.Count(), MeanUS: Micros(h.Mean()),
		P50US: Micros(h.Quantile(.5)), P90US: Micros(h.Quantile(.9)), P99US: Micros(h.Quantile(.99)),
		P999US: Micros(h.Quantile(.999)), MaxUS: Micros(h.Max()), HDR: string(raw),
	})
}

// UnmarshalJSON reads back what MarshalJSON wrote; the summary is recomputed.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var j histogramJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("decode histogram: %w", err)
	}
	got, err := hdr.Decode([]byte(j.HDR))
	if err != nil {
		return fmt.Errorf("decode histogram: %w", err)
	}
	if got.TotalCount() != j.Count {
		return fmt.Errorf("decode histogram: %d values where its summary says %d", got.TotalCount(), j.Count)
	}
	h.h = got
	return nil
}

// Micros is a duration in microseconds.
func Micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
