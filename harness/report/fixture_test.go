package report

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/report/reporttest"
)

// kept are the repository's own records: what people will report on.
func kept(t testing.TB) []Named {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "..", "results", "runs", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	all, err := Load(names)
	require.NoError(t, err)
	return all
}

// ladder is a record of all that a page can show.
func ladder() Named { return Named{"ladder.json", reporttest.Ladder()} }

func profile(t testing.TB) *probe.Profile {
	t.Helper()
	p, err := probe.Load(filepath.Join("..", "probe", "testdata", "v1.yaml"))
	require.NoError(t, err)
	return p
}

// everything is a page with all that there is. It stops at the six oldest of
// the kept records, or what a page shows of them would change with each new one.
func everything(t testing.TB) Input {
	oldest := kept(t)[:6]
	return Input{Records: append([]Named{ladder()}, oldest...), History: oldest, Profile: profile(t)}
}

// writePage writes a page to a file of its own.
func writePage(t testing.TB, in Input) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(name)
	require.NoError(t, err)
	require.NoError(t, HTML(f, in))
	require.NoError(t, f.Close())
	return name
}
