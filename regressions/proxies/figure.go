package proxies

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/cairnstore/cairn/regressions/judge"
)

// A Figure is what was counted.
type Figure struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
	Unit  string `json:"unit"`
}

// An Accepted is a figure that somebody has looked at.
type Accepted struct {
	Value int64  `json:"value"`
	Unit  string `json:"unit"`
	// Why says what a rise was accepted for.
	Why string `json:"why,omitempty"`
}

// A File is what is accepted, and for which builds: allocations are the
// compiler's business too.
type File struct {
	Go      string              `json:"go"` // its minor version, as go1.26
	Arch    string              `json:"arch"`
	Figures map[string]Accepted `json:"figures"`
}

// Toolchain is what the figures of this build depend on beside the code.
func Toolchain() (version, arch string) {
	words := strings.SplitN(runtime.Version(), ".", 3)
	if len(words) > 2 {
		words = words[:2]
	}
	return strings.Join(words, "."), runtime.GOARCH
}

// Applies reports whether this build's figures can be compared with the file.
func (f File) Applies() bool {
	version, arch := Toolchain()
	return f.Go == version && f.Arch == arch
}

// ReadFile reads what is accepted. A file that is not there accepts nothing.
func ReadFile(name string) (File, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("read accepted proxies: %w", err)
	}
	return ParseFile(data)
}

// ParseFile reads the text of such a file.
func ParseFile(data []byte) (File, error) {
	var f File
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("read accepted proxies: %w", err)
	}
	for name, a := range f.Figures {
		if a.Value < 0 {
			return f, fmt.Errorf("read accepted proxies: %s is %d", name, a.Value)
		}
	}
	return f, nil
}

// Accept makes the measured figures the accepted ones. Those that rose, or are
// new, say why; others keep their reason.
func (f File) Accept(measured []Figure, why string) (File, error) {
	out := File{Figures: map[string]Accepted{}}
	out.Go, out.Arch = Toolchain()
	for _, m := range measured {
		was, known := f.Figures[m.Name]
		a := Accepted{Value: m.Value, Unit: m.Unit, Why: was.Why}
		if known && m.Value > was.Value {
			if why == "" {
				return f, fmt.Errorf("%s rose from %d to %d %s: say why", m.Name, was.Value, m.Value, m.Unit)
			}
			a.Why = why
		}
		out.Figures[m.Name] = a
	}
	return out, nil
}

// Write writes the file.
func (f File) Write(name string) error {
	data, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return fmt.Errorf("write accepted proxies: %w", err)
	}
	if err := os.WriteFile(name, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write accepted proxies: %w", err)
	}
	return nil
}

// Against compares measured figures with the accepted ones, to the digit.
func (f File) Against(measured []Figure) (all []judge.Finding) {
	seen := map[string]bool{}
	for _, m := range measured {
		seen[m.Name] = true
		a, ok := f.Figures[m.Name]
		finding := judge.Exactly(judge.Metric{Name: m.Name, Unit: m.Unit}, float64(a.Value), float64(m.Value))
		if !ok {
			finding.Decision = judge.CannotTell
			finding.Notes = append(finding.Notes, "not among the accepted figures: make proxies-accept")
		} else if finding.Decision == judge.Better {
			finding.Notes = append(finding.Notes, "make proxies-accept keeps it")
		}
		all = append(all, finding)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Figures)) {
		if !seen[name] {
			finding := judge.Exactly(judge.Metric{Name: name, Unit: f.Figures[name].Unit}, 0, 0)
			finding.Decision = judge.CannotTell
			finding.Notes = append(finding.Notes, "accepted, but not measured any more")
			all = append(all, finding)
		}
	}
	return all
}

// Between compares a candidate's figures with its base's. A rise is worse,
// unless the candidate's file accepts that very value for a reason that the
// base's file did not have; so is another unit a case of which nothing can be told. Nor
// can it of a figure that the candidate no longer counts, and there a person decides.
func Between(base, candidate []Figure, baseFile, candidateFile File) (all []judge.Finding) {
	was := map[string]Figure{}
	for _, f := range base {
		was[f.Name] = f
	}
	for _, c := range candidate {
		b, ok := was[c.Name]
		delete(was, c.Name)
		if !ok {
			continue // new: the file decides
		}
		finding := judge.Exactly(judge.Metric{Name: c.Name, Unit: c.Unit}, float64(b.Value), float64(c.Value))
		a := candidateFile.Figures[c.Name]
		accepted := a.Value == c.Value && a.Why != "" && a.Why != baseFile.Figures[c.Name].Why
		if b.Unit != c.Unit {
			finding = judge.Exactly(judge.Metric{Name: c.Name, Unit: c.Unit}, float64(c.Value), float64(c.Value))
			finding.Notes = append(finding.Notes, fmt.Sprintf("the base counts it in %q", b.Unit))
			if !accepted {
				finding.Decision = judge.CannotTell
			}
		}
		if finding.Decision == judge.Worse && accepted {
			finding.Decision = judge.Same
			finding.Notes = append(finding.Notes, "rose, and was accepted: "+a.Why)
		}
		all = append(all, finding)
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		finding := judge.Exactly(judge.Metric{Name: name, Unit: was[name].Unit}, 0, 0)
		finding.Decision = judge.CannotTell
		finding.Notes = append(finding.Notes, "the base counts it, the candidate does not")
		all = append(all, finding)
	}
	return all
}
