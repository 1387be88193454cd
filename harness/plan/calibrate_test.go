package plan

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/target"
)

// A calibration and a check of a real Cairn, of moments: the figures are
// nobody's, but every step is there, and what was kept can be fitted anew.
func TestCalibrateAndCheckACairn(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and loads a server")
	}
	binary := filepath.Join(t.TempDir(), "cairn")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/cairnstore/cairn/cmd/cairn").CombinedOutput()
	require.NoError(t, err, string(out))
	dir := t.TempDir()
	var progress bytes.Buffer
	p := exampleProfile(t)
	o := Options{
		Server: target.Cairn(binary), Dir: dir, Profile: p, Sizes: []int{1 << 10}, Closed: []int{1, 2, 4, 8}, Open: []float64{.05, .1, .15},
		Rounds: 1, Warmup: 10 * time.Millisecond, Duration: 100 * time.Millisecond, Seed: 1, Lines: &progress,
		held: []heldOut{{Load{Puts: 1, Size: 4096, Connections: 3}, "concurrency", 0}, {Load{Puts: .5, Size: 1024, Connections: 20}, "mix", .1}},
	}
	m, rec, err := Calibrate(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, m.Points, 2*7)
	require.Len(t, m.Fits, 2)
	require.Contains(t, progress.String(), "closed put 1KiB/c=8")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	name, err := rec.Write(t.TempDir())
	require.NoError(t, err)
	back, err := record.Read(name)
	require.NoError(t, err)
	again, err := FromRecord(back, p)
	require.NoError(t, err)
	require.Equal(t, m.Points, again.Points)
	require.Equal(t, m.Fits[0].Response, again.Fits[0].Response)
	require.Equal(t, "fdatasync before ack (group commit)", again.Durability)

	c, checked, err := CheckModel(t.Context(), m, o)
	require.NoError(t, err)
	require.Len(t, c.Rows, 2)
	require.Len(t, m.Checks, 1)
	require.NotNil(t, checked.Verdict)
	require.NotEmpty(t, checked.Verdict.Reasons)
	for _, r := range c.Rows {
		require.Positive(t, r.GotRate, "%v", r.Load)
		require.Positive(t, r.Rate.Value, "%v", r.Load)
	}
	out2 := &bytes.Buffer{}
	require.NoError(t, c.WriteText(out2))
	require.Contains(t, out2.String(), "held-out load")

	_, err = PointsOf(&record.Record{Kind: "load"})
	require.ErrorContains(t, err, "no loads of a calibration")
}

// No load of a check may be one that a calibration has: it would prove nothing.
func TestHeldOutLoadsAreHeldOut(t *testing.T) {
	o := Standard()
	for _, h := range heldOutLoads() {
		single := h.Puts == 0 || h.Puts == 1
		for _, size := range o.Sizes {
			for _, n := range o.Closed {
				require.False(t, single && h.share == 0 && h.Size == size && h.Connections == n, "%v is of the calibration", h.Load)
			}
			for _, share := range o.Open {
				require.False(t, single && h.share == share && h.Size == size, "%v is of the calibration", h.Load)
			}
		}
	}
}

func TestVerdicts(t *testing.T) {
	row := func(predicted, others float64) Row {
		return Row{BelowKnee: true, Rate: Estimate{Value: predicted}, P99US: Estimate{Value: predicted}, GotRate: 100, GotP99US: 100, OthersPct: others}
	}
	for _, c := range []struct {
		rows []Row
		want record.Outcome
	}{
		{[]Row{row(105, 0), row(108, 0), row(300, 0)}, record.Pass},
		{[]Row{row(120, 0)}, record.Fail},
		{[]Row{row(101, 50)}, record.CannotTell},
		{nil, record.CannotTell},
		{[]Row{{Load: Load{Offered: 100}, Rate: Estimate{Value: 100}, GotRate: 100, GotP99US: 100}}, record.CannotTell}, // beyond the knee, no closed loop
	} {
		check := Check{Rows: c.rows}
		require.Equal(t, c.want, check.verdict(check.Errors()).Outcome)
	}
}

func TestLoadsAreReadBack(t *testing.T) {
	for _, l := range []Load{{1, 4096, 16, 0}, {.3, 1 << 20, 192, 1234}, {0, 1000, 1, 0}} {
		loads, err := loadsOf(&record.Record{Runs: make([]record.Run, 1), Settings: map[string]any{"loads": []any{l.line()}}})
		require.NoError(t, err)
		require.Equal(t, []Load{l}, loads)
	}
	for _, bad := range []any{"", 7, "puts=2 size=1 connections=1 offered=0", "puts=1 size=0 connections=1 offered=0", "puts=1 size=1 connections=1 offered=-1"} {
		_, err := loadsOf(&record.Record{Runs: make([]record.Run, 1), Settings: map[string]any{"loads": []any{bad}}})
		require.Error(t, err, "%v", bad)
	}
	_, err := loadsOf(&record.Record{Settings: map[string]any{"loads": []any{"x"}}})
	require.ErrorContains(t, err, "0 runs")
}
