package record

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairnstore/cairn/harness/stats"
)

// A History is one metric over all records of one kind of machine.
type History struct {
	Metric     string         `json:"metric"`
	Unit       string         `json:"unit"`
	Durability string         `json:"durability"`
	Machine    string         `json:"machine"`
	Load       string         `json:"load,omitempty"`
	Points     []HistoryPoint `json:"points"`
	// Changes are where the metric's level changed.
	Changes  []Change `json:"changes"`
	Warnings []string `json:"warnings"`
}

// A HistoryPoint is the metric in one record.
type HistoryPoint struct {
	At     time.Time `json:"at"`
	Commit string    `json:"commit"`
	Dirty  bool      `json:"dirty"`
	Value  float64   `json:"value"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	File   string    `json:"file"`
}

// A Change is a change of level.
type Change struct {
	At     time.Time `json:"at"`
	Commit string    `json:"commit"` // of the first record after it
	Before float64   `json:"before"` // median until then
	After  float64   `json:"after"`  // median from then on
	Ratio  float64   `json:"ratio"`
	P      float64   `json:"p"`
}

// Class is what figures must share to be of one history: the processors, and what the
// data lay on.
func (m Machine) Class() string { return fmt.Sprintf("%d × %s, %s", m.Cores, m.CPU, m.FileSystem) }

// deciding are the settings that make figures of one name those of one load. How long it
// was measured, how often and from which seed are none.
var deciding = []string{
	"arguments", "back_off", "burst", "connections", "container", "few", "many", "mix", "objects", "open_loop_connections", "pace",
	"rate", "share", "size", "stored", "tls", "upload_rate", "upload_size", "upload_streams",
}

// Load is what figures must share besides the machine: which scenario, to the letter,
// and the settings that decide.
func (r *Record) Load() string {
	var parts []string
	if r.Scenario != nil {
		parts = append(parts, fmt.Sprintf("%s %.12s", r.Scenario.Name, r.Scenario.Hash))
	}
	for _, name := range deciding {
		if v, ok := r.Settings[name]; ok {
			text, err := json.Marshal(v)
			if err != nil {
				text = fmt.Append(nil, v)
			}
			parts = append(parts, fmt.Sprintf("%s=%s", name, text))
		}
	}
	return strings.Join(parts, " ")
}

// HistoryOf follows a metric through records, oldest first, one history for each
// kind of machine, durability and load: figures of two machines, of two file systems
// or of two scenarios of one name are no history.
func HistoryOf(all []Kept, metric string, o stats.ChangeOptions) ([]History, error) {
	type class struct{ machine, durability, unit, load string }
	var order []class
	of := map[class]*History{}
	for _, k := range all {
		for _, m := range k.Metrics {
			if m.Name != metric {
				continue
			}
			c := class{k.Machine.Class(), m.Durability, m.Unit, k.Load()}
			if of[c] == nil {
				order = append(order, c)
				of[c] = &History{Metric: metric, Unit: m.Unit, Durability: m.Durability, Machine: c.machine, Load: c.load}
			}
			of[c].Points = append(of[c].Points, HistoryPoint{At: k.Started, Commit: k.Lab.Commit, Dirty: k.Lab.Dirty, Value: m.Value, Min: m.Min, Max: m.Max, File: k.Name})
		}
	}
	if len(order) == 0 {
		return nil, fmt.Errorf("history: no record has the metric %q", metric)
	}
	var histories []History
	for _, c := range order {
		h := of[c]
		h.changes(o)
		histories = append(histories, *h)
	}
	return histories, nil
}

func (h *History) changes(o stats.ChangeOptions) {
	values := make([]float64, len(h.Points))
	for i, p := range h.Points {
		values[i] = p.Value
	}
	found, err := stats.ChangePoints(values, o)
	if err != nil {
		h.Warnings = append(h.Warnings, "no search for changes: "+err.Error())
		return
	}
	h.Warnings = append(h.Warnings, found.Warnings...)
	for _, c := range found.Points {
		at := h.Points[c.Index]
		change := Change{At: at.At, Commit: at.Commit, Before: c.Before, After: c.After, P: c.P}
		if c.Before != 0 {
			change.Ratio = c.Ratio()
		}
		h.Changes = append(h.Changes, change)
	}
}

// MetricNames are the metrics of records and how many have each, by name.
func MetricNames(all []Kept) (names []string, count map[string]int) {
	count = map[string]int{}
	for _, k := range all {
		for _, m := range k.Metrics {
			if count[m.Name]++; count[m.Name] == 1 {
				names = append(names, m.Name)
			}
		}
	}
	slices.Sort(names)
	return names, count
}
