package scenario

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/sink"
	"github.com/cairnstore/cairn/harness/target"
	"github.com/cairnstore/cairn/scenarios"
)

// The generator's ceiling for a scenario is measured against answers that verify:
// else it would be one of failures.
func TestAnEmptyServersAnswersVerifyAsAScenarios(t *testing.T) {
	for _, name := range []string{"small-object", "mixed", "overwrite-heavy", "list-heavy"} {
		s, err := Find(scenarios.Files, name)
		require.NoError(t, err)
		c, err := s.Case(.02)
		require.NoError(t, err)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		empty := sink.New(listener, bench.SinkAnswers(c, 1))
		served := make(chan error, 1)
		go func() { served <- empty.Serve() }()
		// The plan is the one that a ceiling runs; a sink needs no process of its own for it.
		run, err := bench.Segment{
			Server: target.Server{Name: "sink", Durability: "nothing is stored"}, Running: &load.Target{Address: listener.Addr().String(), Access: "a", Secret: "b"},
			Case: bench.AgainstSink(c), Round: 1, Seed: 1,
		}.Measure(context.Background())
		require.NoError(t, err)
		require.Empty(t, run.Result.Failures, name)
		require.Positive(t, run.Result.Total().Count, name)
		require.Less(t, run.Result.Elapsed, 5*time.Second)
		require.NoError(t, empty.Close())
		require.NoError(t, <-served)
	}
}
