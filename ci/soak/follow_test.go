package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const events = `{"Time":"2026-01-02T03:04:05Z","Action":"start","Package":"github.com/cairnstore/cairn/engine"}
{"Time":"2026-01-02T03:04:06Z","Action":"run","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong"}
{"Time":"2026-01-02T03:04:06Z","Action":"run","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong/seed=1"}
{"Time":"2026-01-02T03:14:06Z","Action":"output","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong/seed=1","Output":"    crash_test.go:100: 300 crashes\n"}
{"Time":"2026-01-02T03:14:06Z","Action":"pass","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong/seed=1","Elapsed":600}
{"Time":"2026-01-02T03:14:06Z","Action":"run","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong/seed=2"}
`

func soaked(t *testing.T, lines string) (*soak, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	s := newSoak(&out, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	for line := range strings.Lines(lines) {
		s.take(line)
	}
	return s, &out
}

func TestWhereItIs(t *testing.T) {
	s, out := soaked(t, events)
	require.Contains(t, out.String(), "03:14:06      engine TestLong/seed=1: crash_test.go:100: 300 crashes\n", "a figure at once")
	require.Contains(t, out.String(), "03:14:06 ok   engine TestLong/seed=1 10m0s\n")
	out.Reset()
	s.status(time.Date(2026, 1, 2, 3, 15, 0, 0, time.UTC))
	require.Equal(t, "03:15:00      running: engine TestLong/seed=2 (54s)\n", out.String(), "only the innermost")
}

// Parallel tests begin, wait for each other, and go on: only who has gone on runs.
func TestWhoWaits(t *testing.T) {
	var lines strings.Builder
	say := func(at, action, test string) {
		fmt.Fprintf(&lines, `{"Time":"2026-01-02T%sZ","Action":%q,"Package":"github.com/cairnstore/cairn/engine","Test":%q}`+"\n", at, action, test)
	}
	say("03:04:05", "run", "TestLong")
	for _, test := range []string{"TestLong/seed=1", "TestLong/seed=2", "TestLong/seed=3"} {
		say("03:04:06", "run", test)
		say("03:04:06", "pause", test)
	}
	say("03:14:06", "cont", "TestLong/seed=2")
	s, out := soaked(t, lines.String())
	s.status(time.Date(2026, 1, 2, 3, 15, 0, 0, time.UTC))
	require.Equal(t, "03:15:00      running: engine TestLong/seed=2 (54s); 2 wait\n", out.String())
}

func TestWhatFailedIsShown(t *testing.T) {
	s, out := soaked(t, events+`{"Action":"output","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong/seed=2","Output":"a byte is lost\n"}
{"Action":"fail","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong/seed=2","Elapsed":1}
{"Action":"fail","Package":"github.com/cairnstore/cairn/engine","Test":"TestLong","Elapsed":601}
{"Action":"fail","Package":"github.com/cairnstore/cairn/engine","Elapsed":602}
`)
	require.Contains(t, out.String(), "FAIL engine TestLong/seed=2 1s\na byte is lost\n")
	require.EqualError(t, s.conclude(s.start), "failed: engine TestLong/seed=2, engine TestLong, engine")
}

func TestLinesThatAreNoEvents(t *testing.T) {
	for _, line := range []string{"panic: out of order\n", "{}\n", "null\n", "[1]\n", "\n", `{"Action":"output","Output":"of nobody"}` + "\n"} {
		_, out := soaked(t, line)
		if strings.Contains(line, "Action") {
			require.Empty(t, out.String())
		} else {
			require.Equal(t, line, out.String())
		}
	}
}

// TestRealRun has the go command test a package with a test that passes and one that fails.
func TestRealRun(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("go.mod", "module example\n\ngo 1.26\n")
	write("a_test.go", `package a

import ("os"; "testing"; "time")

func TestSoaks(t *testing.T) { time.Sleep(1100*time.Millisecond); t.Log("figure", os.Getenv("CAIRN_SOAK")) }
`)
	var out bytes.Buffer
	require.NoError(t, run([]string{"."}, 50*time.Millisecond, time.Minute, &out))
	require.Contains(t, out.String(), "figure 1")
	require.Contains(t, out.String(), "running: example TestSoaks (1s)")
	require.Contains(t, out.String(), "1 tests passed, 0 failed, 0 skipped")

	write("b_test.go", "package a\n\nimport \"testing\"\n\nfunc TestFails(t *testing.T) { t.Fatal(\"lost\") }\n")
	out.Reset()
	require.ErrorContains(t, run([]string{"."}, time.Minute, time.Minute, &out), "failed: example TestFails, example")
	require.Contains(t, out.String(), "b_test.go:5: lost")

	write("b_test.go", "package a\n\nfunc broken( {\n")
	out.Reset()
	require.Error(t, run([]string{"."}, time.Minute, time.Minute, &out))
	require.Contains(t, out.String(), "b_test.go:3")
}
