package measure

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistogramQuantilesStayWithinThreeDigits(t *testing.T) {
	h := NewHistogram()
	for i := 1; i <= 10_000; i++ {
		h.Record(time.Duration(i) * time.Microsecond)
	}
	require.InEpsilon(t, 5_000*time.Microsecond, h.Quantile(.5), .002)
	require.InEpsilon(t, 9_900*time.Microsecond, h.Quantile(.99), .002)
	require.InEpsilon(t, 10_000*time.Microsecond, h.Max(), .002)
	require.InEpsilon(t, 5_000*time.Microsecond, h.Mean(), .002)
}

func TestHistogramCountsWhatIsOutOfRangeAtItsEnds(t *testing.T) {
	h := NewHistogram()
	h.Record(-time.Second)
	h.Record(time.Hour)
	require.EqualValues(t, 2, h.Count())
	require.InEpsilon(t, longest, h.Max(), .002)
}

func TestHistogramMergeEqualsRecordingTogether(t *testing.T) {
	a, b, both := NewHistogram(), NewHistogram(), NewHistogram()
	for i := range 5_000 {
		d := time.Duration(i*i) * time.Microsecond
		both.Record(d)
		if i%3 == 0 {
			a.Record(d)
		} else {
			b.Record(d)
		}
	}
	a.Merge(b)
	require.True(t, a.h.Equals(both.h))
}

func TestHistogramSurvivesJSON(t *testing.T) {
	h := NewHistogram()
	for i := range 1_000 {
		h.Record(time.Duration(i) * 37 * time.Microsecond)
	}
	data, err := json.Marshal(h)
	require.NoError(t, err)
	var back Histogram
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, h.Quantile(.999), back.Quantile(.999))
	require.True(t, h.h.Equals(back.h))
}

func TestHistogramRefusesASummaryThatIsNotItsOwn(t *testing.T) {
	h := NewHistogram()
	h.Record(time.Millisecond)
	data, err := json.Marshal(h)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(data, &fields))
	fields["count"] = 2
	data, err = json.Marshal(fields)
	require.NoError(t, err)
	require.ErrorContains(t, json.Unmarshal(data, new(Histogram)), "summary says 2")
}

func TestRecordDoesNotAllocate(t *testing.T) {
	h := NewHistogram()
	require.Zero(t, testing.AllocsPerRun(1000, func() { h.Record(123 * time.Microsecond) }))
}

func TestABatchCountsForAllOfIt(t *testing.T) {
	a, b := NewHistogram(), NewHistogram()
	a.RecordN(3*time.Millisecond, 500)
	for range 500 {
		b.Record(3 * time.Millisecond)
	}
	require.Equal(t, b.Count(), a.Count())
	require.Equal(t, b.Quantile(.5), a.Quantile(.5))
	require.Equal(t, b.Mean(), a.Mean())
}

// A share stayed within its quantile, and no less than that.
func TestQuantileOfFew(t *testing.T) {
	h := NewHistogram()
	for i := 1; i <= 66; i++ {
		h.Record(time.Duration(i) * time.Millisecond)
	}
	within := func(q float64) float64 { return float64(h.Quantile(q)) / float64(time.Millisecond) }
	require.InDelta(t, 66, within(.99), .1, "65 of 66 are less than 99 in 100")
	require.InDelta(t, 33, within(.5), .1)
	require.InDelta(t, 66, within(1), .1)
	require.InDelta(t, 1, within(0), .1)
}
