package scenario

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/load"
)

func TestEveryTargetCountsAnOperationOfItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, target := range headline.Targets() {
		op := EngineOp(target.Name)
		require.NotEmpty(t, op)
		require.False(t, seen[op])
		seen[op] = true
	}
}

func TestAResultOfAnotherKindIsNoResult(t *testing.T) {
	text := func(goal, op string, elapsed time.Duration) []byte {
		data, err := json.Marshal(EngineResult{goal, &load.Result{Elapsed: elapsed, Ops: map[string]load.OpResult{op: {Count: 5, Latency: latencyOf(5, time.Millisecond)}}}})
		require.NoError(t, err)
		return data
	}
	res, err := parseEngineResult(text("durable-puts", "DURABLE_PUT", time.Second), "durable-puts")
	require.NoError(t, err)
	require.EqualValues(t, 5, res.Ops["DURABLE_PUT"].Latency.Count())
	for want, data := range map[string][]byte{
		"is of \"cache-writes\"":    text("cache-writes", "CACHE_SET", time.Second),
		"has no DURABLE_PUT":        text("durable-puts", "CACHE_SET", time.Second),
		"has no time":               text("durable-puts", "DURABLE_PUT", 0),
		"no latencies of X":         []byte(`{"headline": "durable-puts", "result": {"elapsed_ns": 1, "ops": {"X": {"count": 1}}}}`),
		"the script's result: json": []byte(`{"headline": 1}`),
	} {
		_, err := parseEngineResult(data, "durable-puts")
		require.ErrorContains(t, err, want)
	}
}
