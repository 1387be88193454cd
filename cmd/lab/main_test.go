package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
)

func TestParseMix(t *testing.T) {
	mix, err := parseMix([]string{"PUT=3", "get"})
	require.NoError(t, err)
	require.Equal(t, []load.Share{{Op: load.Put, Weight: 3}, {Op: load.Get, Weight: 1}}, mix)
	for _, bad := range []string{"post", "get=0", "get=x", "get=-1", ""} {
		_, err := parseMix([]string{bad})
		require.Error(t, err, bad)
	}
}

func run(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	err = root.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

func TestLoadOnARunningSinkPrintsJSONAndKeepsARecord(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		_, _, err := run(ctx, "bench", "sink", "--address", address, "--case", "get4k")
		served <- err
	}()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 5*time.Second, 5*time.Millisecond)

	results := filepath.Join(t.TempDir(), "runs")
	out, progress, err := run(t.Context(), "bench", "load", "--address", address, "--mix", "get=3,head=1,put=1", "--stored", "1",
		"--requests", "500", "--warmup", "0", "--results", results, "--json", "--durability", "none at all", "--pid", "1", "--profile", exampleProfile)
	require.NoError(t, err)
	require.Contains(t, progress, "record: ")
	var printed struct{ Metrics []record.Metric }
	require.NoError(t, json.Unmarshal([]byte(out), &printed))
	names := map[string]bool{}
	for _, m := range printed.Metrics {
		names[m.Name] = true
		require.Equal(t, "none at all", m.Durability)
	}
	require.True(t, names["load.get.p99"] && names["load.head.rate"] && names["load.server_cpu"], "%v", names)

	files, err := os.ReadDir(results)
	require.NoError(t, err)
	require.Len(t, files, 1)
	rec, err := record.Read(filepath.Join(results, files[0].Name()))
	require.NoError(t, err)
	requireProfile(t, rec)
	require.EqualValues(t, 500, rec.Runs[0].Result.Total().Count)
	stop()
	require.NoError(t, <-served)
}

func TestBadFlagsOfLoad(t *testing.T) {
	for want, args := range map[string][]string{
		"--address: \"ftp://x\": want http": {"--address", "ftp://x"},
		"want http://x:1 alone":             {"--address", "x:1/bucket"},
		"it needs --rate":                   {"--burst", "3"},
		"want the shortest":                 {"--back-off", "1s,20ms"},
		"raise --max-requests":              {"--requests", "11", "--max-requests", "10"},
		"-4: is no process":                 {"--pid", "-4"},
		"NaN: is a share":                   {"--unverified", "NaN"},
	} {
		_, _, err := run(t.Context(), append([]string{"bench", "load", "--results", ""}, args...)...)
		require.ErrorContains(t, err, want)
	}
}

func TestBadFlagsOfLatency(t *testing.T) {
	for _, args := range [][]string{{"--share", "NaN"}, {"--settle", "NaN"}, {"--settle", "1e300"}, {"--upload-rate", "-1"}} {
		_, _, err := run(t.Context(), append([]string{"bench", "latency", "--results", "", "--dir", t.TempDir(), "--cairn", os.Args[0]}, args...)...)
		require.ErrorContains(t, err, "latency: ", args)
	}
}

func TestCompareWithoutAServerSaysWhatIsMissing(t *testing.T) {
	_, _, err := run(t.Context(), "bench", "compare")
	require.ErrorContains(t, err, "--cairn")
}

// The README says so: each command shows how it is used, and those that find
// something out can tell a program.
func TestEveryCommandHasExamplesAndJSON(t *testing.T) {
	without := map[string]string{
		"lab bench sink":        "serves until it is stopped",
		"lab probe serve":       "serves until it is stopped",
		"lab report":            "makes a page; lab record show has the JSON",
		"lab plan requirements": "makes a page; lab plan has the JSON",
	}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			visit(c)
		}
		if cmd.HasSubCommands() && cmd.Name() != "probe" && cmd.Name() != "plan" {
			return // it names those
		}
		require.Contains(t, cmd.Example, cmd.CommandPath(), "%s: its examples", cmd.CommandPath())
		_, excused := without[cmd.CommandPath()]
		require.Equal(t, !excused, cmd.Flags().Lookup("json") != nil, "%s: --json", cmd.CommandPath())
		for _, line := range strings.Split(cmd.Example, "\n") {
			require.True(t, strings.HasPrefix(line, "  "), "%s: the example %q is indented", cmd.CommandPath(), line)
		}
	}
	visit(newRoot())
}
