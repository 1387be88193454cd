package telemetry

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// latencyBounds are the upper bounds of the latency histogram in seconds: from
// 25 µs, below a cached GET, doubling to 26 s, so that a quantile is known to a factor of two at any scale.
var latencyBounds = prometheus.ExponentialBuckets(25e-6, 2, 21)

const (
	// maxOperations and maxCodes bound the label sets, whatever callers pass.
	// S3 has about a hundred operations and as many codes.
	maxOperations = 256
	maxCodes      = 256
	overflow      = "other"

	// Statuses are counted by their number: 100 to 599.
	firstStatus, statuses = 100, 500
)

// A Request is one finished request.
type Request struct {
	Operation string // S3's name, as PutObject
	Status    int
	Code      string // S3's error code; empty without one
	// In and Out are bytes of payload read from and written to the client.
	In, Out  int64
	Duration time.Duration
}

// Requests counts what the wire does.
//
// Begin, Done and Refused are on every request's path: they take no lock and
// allocate nothing once an operation, its status and its code were seen
// before. The counters of each are found by one look-up in a map that is
// replaced, never changed, when a new name turns up.
type Requests struct {
	inFlight atomic.Int64
	refused  atomic.Int64

	operations atomic.Pointer[map[string]*operation]
	codes      atomic.Pointer[map[string]*atomic.Int64]
	mu         sync.Mutex // held by whoever replaces a map

	desc struct {
		inFlight, refused, total, seconds, in, out, errors *prometheus.Desc
	}
}

// operation is one S3 operation's counters.
type operation struct {
	name    string
	status  [statuses]atomic.Int64
	in, out atomic.Int64
	seconds prometheus.Histogram
}

func newRequests() *Requests {
	r := &Requests{}
	r.operations.Store(&map[string]*operation{})
	r.codes.Store(&map[string]*atomic.Int64{})
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	r.desc.inFlight = d("cairn_s3_requests_in_flight", "Requests being served now.")
	r.desc.refused = d("cairn_s3_requests_refused_total", "Requests refused with 503 SlowDown because a bound on waiting work was reached.")
	r.desc.total = d("cairn_s3_requests_total", "Finished requests by operation and HTTP status.", "operation", "status")
	r.desc.in = d("cairn_s3_received_bytes_total", "Payload bytes read from clients.", "operation")
	r.desc.out = d("cairn_s3_sent_bytes_total", "Payload bytes written to clients.", "operation")
	r.desc.errors = d("cairn_s3_errors_total", "Answers that carried an S3 error code.", "code")
	return r
}

// Begin counts a request in flight until Done. Safe for concurrent use.
func (r *Requests) Begin() { r.inFlight.Add(1) }

// Refused counts a request that was turned away for want of room. It is
// beside Done, not instead of it. Safe for concurrent use.
func (r *Requests) Refused() { r.refused.Add(1) }

// Done counts a finished request that Begin counted before. Safe for concurrent use.
func (r *Requests) Done(q Request) {
	r.inFlight.Add(-1)
	op := (*r.operations.Load())[q.Operation]
	if op == nil {
		op = r.addOperation(q.Operation)
	}
	status := q.Status - firstStatus
	if status < 0 || status >= statuses {
		status = http.StatusInternalServerError - firstStatus
	}
	op.status[status].Add(1)
	op.seconds.Observe(q.Duration.Seconds())
	if q.In > 0 {
		op.in.Add(q.In)
	}
	if q.Out > 0 {
		op.out.Add(q.Out)
	}
	if q.Code == "" {
		return
	}
	code := (*r.codes.Load())[q.Code]
	if code == nil {
		code = r.addCode(q.Code)
	}
	code.Add(1)
}

func newOperation(name string) *operation {
	return &operation{
		name: name,
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:        "cairn_s3_request_seconds",
			Help:        "Time from a request's head read to its answer written.",
			ConstLabels: prometheus.Labels{"operation": name},
			Buckets:     latencyBounds,
		}),
	}
}

func (r *Requests) addOperation(name string) *operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return add(&r.operations, name, maxOperations, newOperation)
}

func (r *Requests) addCode(code string) *atomic.Int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return add(&r.codes, code, maxCodes, func(string) *atomic.Int64 { return new(atomic.Int64) })
}

// add returns name's value in the map that p points to, replacing the map with
// one that has it. Past max names, it is that of overflow. The caller holds the lock.
func add[V any](p *atomic.Pointer[map[string]*V], name string, max int, build func(string) *V) *V {
	old := *p.Load()
	if v := old[name]; v != nil {
		return v
	}
	if len(old) >= max-1 && name != overflow {
		return add(p, overflow, max, build)
	}
	replaced := make(map[string]*V, len(old)+1)
	for k, v := range old {
		replaced[k] = v
	}
	v := build(name)
	replaced[name] = v
	p.Store(&replaced)
	return v
}

// Describe sends nothing: which operations there are is known only as they come.
func (r *Requests) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *Requests) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(r.desc.inFlight, prometheus.GaugeValue, float64(r.inFlight.Load()))
	counter := func(d *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	counter(r.desc.refused, r.refused.Load())
	for _, op := range *r.operations.Load() {
		for i := range op.status {
			if n := op.status[i].Load(); n > 0 {
				counter(r.desc.total, n, op.name, strconv.Itoa(i+firstStatus))
			}
		}
		counter(r.desc.in, op.in.Load(), op.name)
		counter(r.desc.out, op.out.Load(), op.name)
		ch <- op.seconds
	}
	for code, n := range *r.codes.Load() {
		counter(r.desc.errors, n.Load(), code)
	}
}
