package engine

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/cairnstore/cairn/engine/admin"
	"github.com/cairnstore/cairn/engine/cache/prefetch"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/telemetry"
)

// AdminToken is the bearer token for what operators may change over HTTP. It
// follows from the secret key, and tells nothing of it; empty for none.
func AdminToken(secretKey string) string {
	if secretKey == "" {
		return ""
	}
	h := hmac.New(sha256.New, []byte(secretKey))
	h.Write([]byte("cairn admin token v1"))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// A CacheReport is what the cache tells of itself. Counts are since the start,
// bytes and ages of now.
type CacheReport struct {
	Tiers []TierReport `json:"tiers"` // in the order in which they are asked; the last is the objects' home
	// Curve is what share of look-ups memory would answer if it had room for so many
	// bytes of entries. Empty before there are enough look-ups.
	Curve    []CurvePoint   `json:"curve"`
	Demotion DemotionReport `json:"demotion"`
	Prefetch PrefetchReport `json:"prefetch"`
	HotList  HotListReport  `json:"hotList"`
	Warming  *Warmth        `json:"warming,omitempty"` // the last one that was asked for
}

// A TierReport is of one tier.
type TierReport struct {
	Name     string  `json:"name"` // memory, flash, redis, home
	Hits     int64   `json:"hits"`
	Misses   int64   `json:"misses"`
	HitRatio float64 `json:"hitRatio"` // of what it was asked for
	HitBytes int64   `json:"hitBytes,omitempty"`
	Wrong    int64   `json:"wrong,omitempty"` // not served, because the record's checksum says otherwise
	Entries  int64   `json:"entries,omitempty"`
	Bytes    int64   `json:"bytes,omitempty"`  // used
	Budget   int64   `json:"budget,omitempty"` // bytes
	Taken    int64   `json:"taken,omitempty"`  // of the budget, from the system so far: it comes in as it fills
	Evicted  int64   `json:"evicted,omitempty"`
	Dropped  int64   `json:"dropped,omitempty"` // not taken in
	Age      float64 `json:"age,omitempty"`     // of the oldest entries, in seconds
	// Fragmentation is the share of used space that holds nothing, 0 to 1.
	Fragmentation float64 `json:"fragmentation,omitempty"`
	Off           bool    `json:"off,omitempty"` // its drive failed, or it does not answer
}

// A CurvePoint is of a memory of another size.
type CurvePoint struct {
	Bytes    int64   `json:"bytes"`
	HitRatio float64 `json:"hitRatio"`
}

// A DemotionReport is of what left memory for the tiers below.
type DemotionReport struct {
	Bodies         int64 `json:"bodies"`
	Bytes          int64 `json:"bytes"`
	Dropped        int64 `json:"dropped"`
	WaitingBytes   int64 `json:"waitingBytes"`
	WrittenThrough int64 `json:"writtenThrough"`
}

// A PrefetchReport is of what was fetched before it was asked for.
type PrefetchReport struct {
	On          bool            `json:"on"`
	Fetched     int64           `json:"fetched"`
	Bytes       int64           `json:"bytes"`
	Dropped     int64           `json:"dropped"`
	Waiting     int64           `json:"waiting"` // fetches, now
	Successions PrecisionReport `json:"successions"`
	Ranges      PrecisionReport `json:"ranges"`
}

// A PrecisionReport is how good predictions were.
type PrecisionReport struct {
	Predicted int64   `json:"predicted"`
	Used      int64   `json:"used"`
	Precision float64 `json:"precision"` // Used of Predicted
	Recent    float64 `json:"recent"`    // over the last few hundred
	Off       bool    `json:"off"`       // now: too many were wrong
}

// A HotListReport is of what is asked for most.
type HotListReport struct {
	Keys int     `json:"keys"`           // remembered
	Last *Warmth `json:"last,omitempty"` // the warming with what the last session had left
}

func precisionReport(p prefetch.Precision) PrecisionReport {
	return PrecisionReport{p.Predicted, p.Used, ratio(p.Used, p.Predicted-p.Used), p.Recent, p.Off}
}

func ratio(hits, misses int64) float64 {
	if hits+misses == 0 {
		return 0
	}
	return float64(hits) / float64(hits+misses)
}

// CacheReport tells of the cache; ErrNoCache where there is none.
func (e *Engine) CacheReport() (r CacheReport, err error) {
	if e.cache == nil {
		return r, ErrNoCache
	}
	if !e.cache.look(func() { r = e.cacheReport() }) {
		err = errClosing
	}
	return r, err
}

func (e *Engine) cacheReport() CacheReport {
	c := e.cache
	m, t := c.tiers.Memory().Stats(), c.tiers.Stats()
	r := CacheReport{
		Tiers: []TierReport{{
			Name: "memory", Hits: int64(m.Hits + m.Absent), Misses: int64(m.Misses), HitRatio: ratio(int64(m.Hits+m.Absent), int64(m.Misses)),
			Entries: m.Items, Bytes: m.Bytes - m.FreeBytes, Budget: m.Bytes, Taken: m.BroughtBytes, Evicted: int64(m.EvictedSmall + m.EvictedMain),
			Dropped: int64(m.TooLarge + m.NoMemory + m.StaleFills), Age: max(m.SmallAge, m.MainAge).Seconds(), Fragmentation: m.Fragmentation,
		}},
		Curve:    []CurvePoint{},
		Demotion: DemotionReport{t.Demoted, t.DemotedBytes, t.Dropped, t.WaitingBytes, t.Kept},
	}
	if c.flash != nil {
		f := c.flash.Stats()
		r.Tiers = append(r.Tiers, TierReport{
			Name: "flash", Hits: t.Flash.Hits, Misses: t.Flash.Misses, HitRatio: ratio(t.Flash.Hits, t.Flash.Misses), HitBytes: t.Flash.Bytes, Wrong: t.Flash.Wrong,
			Entries: f.Entries, Bytes: f.LiveBytes, Budget: f.Budget, Evicted: f.Evicted,
			Dropped: f.DroppedRate + f.DroppedBusy + f.DroppedSize + f.DroppedOff, Age: f.OldestAge.Seconds(), Fragmentation: f.Fragmentation(), Off: f.Failed,
		})
	}
	if c.redis != nil {
		x := c.redis.Stats()
		r.Tiers = append(r.Tiers, TierReport{
			Name: "redis", Hits: t.Shared.Hits, Misses: t.Shared.Misses, HitRatio: ratio(t.Shared.Hits, t.Shared.Misses), HitBytes: t.Shared.Bytes, Wrong: t.Shared.Wrong,
			Dropped: x.DroppedFull + x.DroppedOpen + x.DroppedSize, Off: x.Open,
		})
	}
	r.Tiers = append(r.Tiers, TierReport{Name: "home", Hits: t.Home.Hits, Misses: t.Failures, HitRatio: ratio(t.Home.Hits, t.Failures), HitBytes: t.Home.Bytes})
	for _, p := range c.tiers.Memory().Curve(curveSizes(m.Bytes)...) {
		r.Curve = append(r.Curve, CurvePoint(p))
	}
	a := e.learnt
	if a.ahead != nil {
		s := a.ahead.Stats()
		r.Prefetch = PrefetchReport{true, s.Fetched, s.Bytes, s.Dropped, s.Waiting, precisionReport(s.Successions), precisionReport(s.Ranges)}
	}
	if a.hot != nil {
		r.HotList.Keys = a.hot.Len()
	}
	if a.last != nil {
		w := a.last.warmth()
		r.HotList.Last = &w
	}
	if w := a.byHand.Load(); w != nil {
		now := w.warmth()
		r.Warming = &now
	}
	return r
}

func (e *Engine) cacheHandler() func() (any, error) {
	return func() (any, error) {
		r, err := e.CacheReport()
		switch {
		case errors.Is(err, errClosing):
			return nil, &admin.Refusal{Status: http.StatusServiceUnavailable, Reason: err.Error()}
		case err != nil:
			return nil, &admin.Refusal{Status: http.StatusNotFound, Reason: err.Error()}
		}
		return r, nil
	}
}

func (e *Engine) warmHandler() func(context.Context, string, string, func(any)) (any, error) {
	return func(ctx context.Context, bucket, prefix string, progress func(any)) (any, error) {
		w, err := e.Warm(ctx, bucket, prefix, func(w Warmth) { progress(w) })
		status := http.StatusInternalServerError
		switch {
		case err == nil:
			return w, nil
		case errors.Is(err, ErrWarming):
			status = http.StatusConflict
		case errors.Is(err, ErrNoCache), object.KindOf(err) == object.NoSuchBucket:
			status = http.StatusNotFound
		case errors.Is(err, errClosing):
			status = http.StatusServiceUnavailable
		}
		return w, &admin.Refusal{Status: status, Reason: err.Error()}
	}
}

// exposeAnticipation tells what was brought in before it was asked for.
func exposeAnticipation(t *telemetry.Scrape, a *anticipation) {
	if a == nil {
		return
	}
	reading := func(kind telemetry.Kind, name, help, label string, v float64) {
		r := telemetry.Reading{Name: name, Help: help, Kind: kind, Value: v}
		if label != "" {
			r.Label, r.LabelValue = "predictor", label
		}
		t.Reading(r)
	}
	if a.ahead != nil {
		s := a.ahead.Stats()
		reading(telemetry.Counter, "cairn_prefetch_fetched_total", "Bodies brought into memory because they were likely to be asked for.", "", float64(s.Fetched))
		reading(telemetry.Counter, "cairn_prefetch_fetched_bytes_total", "Bytes of those.", "", float64(s.Bytes))
		reading(telemetry.Counter, "cairn_prefetch_dropped_total", "Predictions that were not followed, because too much waited.", "", float64(s.Dropped))
		for name, p := range map[string]prefetch.Precision{"successions": s.Successions, "ranges": s.Ranges} {
			reading(telemetry.Counter, "cairn_prefetch_predicted_total", "Predictions.", name, float64(p.Predicted))
			reading(telemetry.Counter, "cairn_prefetch_used_total", "Of those, what was asked for soon.", name, float64(p.Used))
			reading(telemetry.Gauge, "cairn_prefetch_precision_ratio", "Share of the last predictions that was asked for.", name, p.Recent)
			reading(telemetry.Gauge, "cairn_prefetch_off", "1 while a predictor is silent, because too many of its predictions were wrong.", name, truth(p.Off))
		}
	}
	if a.hot != nil {
		reading(telemetry.Gauge, "cairn_hot_list_keys", "Keys that are remembered as asked for most.", "", float64(a.hot.Len()))
	}
	for label, w := range map[string]*warming{"last_session": a.last, "prefix": a.byHand.Load()} {
		if w == nil {
			continue
		}
		s := w.warmth()
		warm := func(name, help string, v float64) {
			t.Reading(telemetry.Reading{Name: name, Help: help, Label: "cause", LabelValue: label, Value: v})
		}
		warm("cairn_warming_objects", "Objects that the last warming has looked at.", float64(s.Objects))
		warm("cairn_warming_bytes", "Bytes that it has brought into memory.", float64(s.Bytes))
		warm("cairn_warming_done", "1 when it is over.", truth(s.Done))
	}
}
