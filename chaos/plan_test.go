package chaos

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const smallPlan = `
name: small
asks: what?
fails: that
steps:
  - fault: kill
`

func TestAPlanHasDefaults(t *testing.T) {
	p, err := ParsePlan([]byte(smallPlan))
	require.NoError(t, err)
	require.Equal(t, Directory, p.Volume.Kind)
	require.Equal(t, Release, p.Server.Build)
	require.Equal(t, checkerNames, p.Checkers)
	require.Equal(t, 1, p.Steps[0].Times)
	require.Positive(t, p.Steps[0].BiteWithin)
	require.Positive(t, p.Load.Clients)
	require.Len(t, p.Hash, 64)
}

func TestSizesAndSpans(t *testing.T) {
	p, err := ParsePlan([]byte(smallPlan + "    after: 1s\n    hold: 200ms..2s\nload: {sizes: [100, 4KiB, 3MiB]}\n"))
	require.NoError(t, err)
	require.Equal(t, []Bytes{100, 4096, 3 << 20}, p.Load.Sizes)
	require.Equal(t, Span{time.Second, time.Second}, p.Steps[0].After)
	require.Equal(t, Span{200 * time.Millisecond, 2 * time.Second}, p.Steps[0].Hold)
}

// What a plan must not say, and a word of the answer.
func TestBadPlansAreRefused(t *testing.T) {
	for change, want := range map[string]string{
		"colour: red":                                  "colour",
		"name: Small Plan":                             "name",
		"volume: {kind: tape}":                         "no kind of volume",
		"volume: {kind: tmpfs}":                        "a size belongs",
		"volume: {size: 1MiB}":                         "a size belongs",
		"server: {build: debug}":                       "no build is called",
		"server: {files: -1}":                          "files",
		"load: {clients: 100000}":                      "clients",
		"load: {puts: 0, gets: 1}":                     "weights",
		"load: {sizes: [3]}":                           "size of 3 bytes",
		"load: {sizes: [1TiB]}":                        "no size",
		"load: {sizes: [-1]}":                          "no size",
		"load: {rate: .nan}":                           "rate",
		"load: {timeout: 1ms}":                         "timeout",
		"checkers: [taste]":                            "no checker",
		"steps: []":                                    "without steps",
		"steps: [{fault: melt}]":                       "no fault is called",
		"steps: [{fault: kill, times: 1000000}]":       "times",
		"steps: [{fault: kill, after: 2s..1s}]":        "no time",
		"steps: [{fault: kill, after: -1s}]":           "no time",
		"steps: [{fault: kill, hold: 1h}]":             "time over",
		"steps: [{fault: kill, with: {cores: 1}}]":     "cores",
		"steps: [{fault: cpu, with: {cores: 7}}]":      "cores",
		"steps: [{fault: power}]":                      "needs a volume of the kind fuse",
		"steps: [{fault: full}]":                       "needs a volume of the kind tmpfs",
		"steps: [{fault: clock}]":                      "needs server.build faults",
		"steps: [{fault: descriptors}]":                "needs server.files",
		"steps: [{fault: net-cut, with: {loss: 0.1}}]": "no setting",
		"steps: [{fault: net-loss, with: {loss: 2}}]":  "net-loss",
	} {
		text := smallPlan
		key, _, _ := strings.Cut(change, ":")
		if i := strings.Index(text, "\n"+key+":"); i >= 0 { // instead of what it says
			end := strings.Index(text[i+1:], "\n") + i + 1
			if key == "steps" {
				end = len(text)
			}
			text = text[:i+1] + text[end:]
		}
		_, err := ParsePlan([]byte(text + "\n" + change + "\n"))
		require.ErrorContains(t, err, want, change)
	}
	_, err := ParsePlan([]byte(smallPlan + "---\nname: second\n"))
	require.ErrorContains(t, err, "more than one document")
	_, err = ParsePlan(nil)
	require.Error(t, err)
}

// The plans of this repository are good, and each fault is in one of them.
func TestThePlansUseEveryFault(t *testing.T) {
	plans, err := Plans()
	require.NoError(t, err)
	used := map[string]bool{}
	for _, p := range plans {
		for _, f := range p.Faults() {
			used[f] = true
		}
		found, err := FindPlan(p.Name)
		require.NoError(t, err)
		require.Equal(t, p.Hash, found.Hash)
	}
	for _, d := range Describe() {
		require.True(t, used[d.Name], "no plan has the fault %s", d.Name)
		require.NotEmpty(t, d.What)
	}
	_, err = FindPlan("no-such")
	require.ErrorContains(t, err, "lab chaos list")
	_, err = FindPlan("/nowhere/plan.yaml")
	require.Error(t, err)
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(smallPlan))
	plans, err := planFiles.ReadDir("plans")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range plans {
		text, err := planFiles.ReadFile("plans/" + p.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePlan(text)
		if err != nil {
			return
		}
		require.NoError(t, p.Validate())
		require.NotEmpty(t, p.Steps)
		for i := range p.Steps {
			require.NotNil(t, p.Steps[i].fault())
		}
	})
}
