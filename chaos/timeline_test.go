package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/verify"
)

func TestATimelineKeepsEverythingInFewPoints(t *testing.T) {
	c := newChronicle()
	const n = 20_000
	for i := range n { // over 2000 s, in one go
		c.start = time.Now().Add(-time.Duration(i) * firstStep)
		o := verify.Op{Kind: verify.Put, Outcome: verify.OK, Content: verify.Content{ID: 1, Size: 10}}
		switch i % 4 {
		case 1:
			o.Outcome = verify.Refused
		case 2:
			o.Outcome = verify.Doubt
		}
		took := time.Millisecond
		if i == n/2 {
			took, o.Outcome = 3*time.Second, verify.OK
		}
		c.observe(o, took, nil)
	}
	line := c.timeline()
	require.LessOrEqual(t, len(line.Points), maxPoints)
	require.Greater(t, len(line.Points), maxPoints/3)
	var answered, refused, doubt int64
	longest := 0.
	for _, p := range line.Points {
		answered, refused, doubt = answered+p.Answered, refused+p.Refused, doubt+p.InDoubt
		longest = max(longest, p.MaxUS)
		if p.Answered > 0 {
			require.InDelta(t, 1000, p.P50US, 5)
		}
	}
	require.Equal(t, int64(n), answered+refused+doubt)
	require.Equal(t, int64(n/4), refused)
	require.InDelta(t, 3e6, longest, 3e3)
	require.Equal(t, c.result().Ops["PUT"].Count, answered)
}

func TestAWatchSeesWhatHappensWhileItIsOpen(t *testing.T) {
	s := &Stage{chronicle: newChronicle()}
	put := verify.Op{Kind: verify.Put, Outcome: verify.OK}
	s.chronicle.observe(put, time.Second, nil)
	w := s.Watch()
	s.chronicle.observe(put, time.Millisecond, nil)
	put.Outcome = verify.Doubt
	s.chronicle.observe(put, time.Second, &verify.StatusError{Status: 503, Code: "SlowDown"})
	get := verify.Op{Kind: verify.Get, Outcome: verify.Doubt}
	s.chronicle.observe(get, time.Second, &verify.StatusError{Status: 500, Code: "InternalError"})
	get.Outcome = verify.Refused
	s.chronicle.observe(get, time.Second, &verify.StatusError{Status: 403, Code: "RequestTimeTooSkewed"})
	w.Close()
	s.chronicle.observe(get, time.Second, nil)
	seen := w.Seen()
	require.Equal(t, int64(1), seen.Answered)
	require.Equal(t, int64(2), seen.InDoubt)
	require.Equal(t, int64(1), seen.Refused)
	require.Equal(t, int64(1), seen.FailedPuts)
	require.Equal(t, int64(1), seen.FailedGets)
	require.Equal(t, time.Millisecond, seen.Longest)
	require.Equal(t, map[string]int64{"SlowDown": 1, "InternalError": 1, "RequestTimeTooSkewed": 1}, seen.Codes)
	(*Watch)(nil).Close()
}

func TestWhatIsHeldAtRestIsOfTheLastProcess(t *testing.T) {
	require.Empty(t, atRest(nil, "d"))
	all := atRest([]verify.Usage{{Process: 1, RSS: 900 << 20, Descriptors: 90}, {Process: 2, RSS: 30 << 20, Descriptors: 7}, {Process: 2, RSS: 50 << 20, Descriptors: 5}, {Process: 2, RSS: 40 << 20, Descriptors: 9}}, "d")
	require.Equal(t, []record.Metric{
		{Name: "memory at rest", Unit: "MiB", Durability: "d", Value: 40, Min: 30, Max: 50},
		{Name: "descriptors at rest", Unit: "descriptors", Durability: "d", Value: 9, Min: 5, Max: 9},
	}, all)
}
