package plan

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/measure"
	"github.com/cairnstore/cairn/harness/record"
)

// A Load is what one run puts on a server: one operation or a mix, all objects
// of one size, in a closed loop or at an offered rate.
type Load struct {
	// Puts is the share of puts; the rest are gets.
	Puts        float64 `yaml:"puts"`
	Size        int     `yaml:"size_bytes"`
	Connections int     `yaml:"connections"`
	Offered     float64 `yaml:"offered_per_s,omitempty"` // 0: closed loop
}

// A Point is what one run found.
type Point struct {
	Load      `yaml:",inline"`
	Round     int     `yaml:"round"`
	Rate      float64 `yaml:"rate_per_s"`
	P50US     float64 `yaml:"p50_us"`
	P99US     float64 `yaml:"p99_us"`
	ServerUS  float64 `yaml:"server_cpu_us"`    // CPU a request
	ClientUS  float64 `yaml:"generator_cpu_us"` // CPU a request
	Written   float64 `yaml:"written_bytes"`    // to the drive, a request
	OthersPct float64 `yaml:"others_percent"`   // of the machine, by other processes and the hypervisor
}

// String names a load as records do: family/rung, which a report draws as one line.
func (l Load) String() string {
	what := "mixed " + strconv.FormatFloat(l.Puts*100, 'g', 3, 64) + "% puts"
	switch l.Puts {
	case 0:
		what = "get"
	case 1:
		what = "put"
	}
	if l.Offered > 0 {
		return fmt.Sprintf("open %s %s/%.0f per s", what, sizeName(l.Size), l.Offered)
	}
	return fmt.Sprintf("closed %s %s/c=%d", what, sizeName(l.Size), l.Connections)
}

func sizeName(n int) string {
	switch {
	case n%(1<<20) == 0:
		return strconv.Itoa(n>>20) + "MiB"
	case n%(1<<10) == 0:
		return strconv.Itoa(n>>10) + "KiB"
	}
	return strconv.Itoa(n) + "B"
}

// mix is the load's operations as the generator takes them.
func (l Load) mix() []load.Share {
	puts := int(l.Puts*1000 + .5)
	switch puts {
	case 0:
		return []load.Share{{Op: load.Get, Weight: 1}}
	case 1000:
		return []load.Share{{Op: load.Put, Weight: 1}}
	}
	return []load.Share{{Op: load.Put, Weight: puts}, {Op: load.Get, Weight: 1000 - puts}}
}

// pointOf takes from a run what the fits need. threads is of the machine.
func pointOf(l Load, run record.Run, threads int) Point {
	total := run.Result.Total()
	p := Point{Load: l, Round: run.Round, Rate: run.Result.Rate(), P50US: measure.Micros(total.Latency.Quantile(.5)), P99US: measure.Micros(total.Latency.Quantile(.99))}
	if n := float64(max(total.Count, 1)); run.Server != nil {
		p.ServerUS, p.ClientUS, p.Written = measure.Micros(run.Server.CPU())/n, measure.Micros(run.Generator.CPU())/n, float64(run.Server.Written)/n
	}
	machine := run.Result.Elapsed * time.Duration(threads)
	if machine > 0 {
		p.OthersPct = 100 * float64(run.Others+run.Stolen) / float64(machine)
	}
	return p
}

// PointsOf takes the points from a record of a calibration. Their loads are in
// its settings, in the order of the runs.
func PointsOf(rec *record.Record) ([]Point, error) {
	loads, err := loadsOf(rec)
	if err != nil {
		return nil, err
	}
	var points []Point
	for i, run := range rec.Runs {
		if run.Result == nil || run.Result.Elapsed <= 0 {
			return nil, fmt.Errorf("run %d of the record has no result", i+1)
		}
		points = append(points, pointOf(loads[i], run, rec.Machine.Cores))
	}
	return points, nil
}

// loadsOf reads settings.loads: a line for each run, as written by loadLine.
func loadsOf(rec *record.Record) ([]Load, error) {
	lines, ok := rec.Settings["loads"].([]any)
	if !ok {
		if own, mine := rec.Settings["loads"].([]string); mine {
			for _, l := range own {
				lines = append(lines, l)
			}
		} else {
			return nil, fmt.Errorf("the record is of kind %s and has no loads of a calibration", rec.Kind)
		}
	}
	if len(lines) != len(rec.Runs) {
		return nil, fmt.Errorf("the record has %d runs and the loads of %d", len(rec.Runs), len(lines))
	}
	var loads []Load
	for _, line := range lines {
		text, _ := line.(string)
		var l Load
		if _, err := fmt.Sscanf(strings.TrimSpace(text), "puts=%g size=%d connections=%d offered=%g", &l.Puts, &l.Size, &l.Connections, &l.Offered); err != nil {
			return nil, fmt.Errorf("load %q of the record: %w", text, err)
		}
		if err := l.validate(); err != nil {
			return nil, fmt.Errorf("load %q of the record: %w", text, err)
		}
		loads = append(loads, l)
	}
	return loads, nil
}

func (l Load) line() string {
	return fmt.Sprintf("puts=%g size=%d connections=%d offered=%g", l.Puts, l.Size, l.Connections, l.Offered)
}

func (l Load) validate() error {
	if !(l.Puts >= 0 && l.Puts <= 1) || l.Size < 1 || l.Size > 1<<30 || l.Connections < 1 || l.Connections > 1<<16 || !(l.Offered >= 0 && l.Offered <= maxRate) {
		return fmt.Errorf("no such load: puts %g, size %d, connections %d, offered %g", l.Puts, l.Size, l.Connections, l.Offered)
	}
	return nil
}
