package chaos

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cairnstore/cairn/harness/verify"
)

// A Plan is an experiment as a file in YAML says it.
type Plan struct {
	Name string `yaml:"name"`
	// Asks is what the experiment asks, and Fails what would fail it.
	Asks  string `yaml:"asks"`
	Fails string `yaml:"fails"`
	Seed  uint64 `yaml:"seed"`

	Volume Volume `yaml:"volume"`
	Server Server `yaml:"server"`
	Load   Load   `yaml:"load"`
	Steps  []Step `yaml:"steps"`

	Checkers []string `yaml:"checkers"`

	Hash string `yaml:"-"` // SHA-256 of the file, in hexadecimal
}

// A Volume is where the server keeps its data.
type Volume struct {
	Kind VolumeKind `yaml:"kind"`
	Size Bytes      `yaml:"size"` // of a tmpfs
}

// A VolumeKind is how a volume is made.
type VolumeKind string

// The kinds of volume.
const (
	Directory VolumeKind = "directory" // of the host
	Tmpfs     VolumeKind = "tmpfs"     // in memory, of a set size
	Fuse      VolumeKind = "fuse"      // a directory, shown by package fusefs
)

// A Server is how the server is built and run.
type Server struct {
	Build  Build    `yaml:"build"` // "": release
	Args   []string `yaml:"args"`
	Memory Bytes    `yaml:"memory"` // 0: no limit
	Files  int64    `yaml:"files"`  // descriptors at most; 0: the engine's default
}

// A Build is a variant of the server, by its build tag.
type Build string

// The builds.
const (
	Release    Build = "release"
	Faults     Build = "faults"     // its clock can be set wrong
	PlantedBug Build = "plantedbug" // acknowledges before its sync
)

// A Load is what clients ask meanwhile (verify.Load).
type Load struct {
	Clients int           `yaml:"clients"`
	Keys    int           `yaml:"keys"`
	Rate    float64       `yaml:"rate"` // operations per second; 0: closed loop
	Puts    int           `yaml:"puts"`
	Uploads int           `yaml:"uploads"` // puts in parts
	Gets    int           `yaml:"gets"`
	Ranges  int           `yaml:"ranges"` // gets of a part
	Deletes int           `yaml:"deletes"`
	Sizes   []Bytes       `yaml:"sizes"`
	Timeout time.Duration `yaml:"timeout"` // of one request
}

func (l *Load) weights() verify.Weights {
	return verify.Weights{Puts: l.Puts, Uploads: l.Uploads, Gets: l.Gets, Ranges: l.Ranges, Deletes: l.Deletes}
}

// A Step is a fault, once or many times.
type Step struct {
	Fault string    `yaml:"fault"`
	With  yaml.Node `yaml:"with"` // the fault's own settings
	// After is how long the server is left in peace under load before, and Hold how
	// long the fault stays once it has bitten: chosen evenly between the two.
	After Span `yaml:"after"`
	Hold  Span `yaml:"hold"`
	// BiteWithin and HealWithin bound how long a fault may take until it is
	// seen, and a server until it is well again.
	BiteWithin time.Duration `yaml:"bite-within"`
	HealWithin time.Duration `yaml:"heal-within"`
	Times      int           `yaml:"times"`
	// Verify is after how many times everything is read and judged; it always
	// is after the last. 0: after each.
	Verify int `yaml:"verify"`

	fault func() Fault
}

// The checkers, by name. Checksums of what is read are always compared.
var checkerNames = []string{"acknowledged", "linear", "listed", "growth", "recovery"}

// Bytes is a size: 4096, 64KiB, 1MiB, 2GiB.
type Bytes int64

// UnmarshalYAML reads a number of bytes with or without a unit.
func (b *Bytes) UnmarshalYAML(n *yaml.Node) error {
	text, unit := n.Value, int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB"} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = number, 1<<(10*(i+1))
		}
	}
	var v int64
	if _, err := fmt.Sscanf(text+"\n", "%d\n", &v); err != nil || v < 0 || v > 1<<50/unit {
		return fmt.Errorf("line %d: %q is no size, as 4096, 64KiB or 2MiB", n.Line, n.Value)
	}
	*b = Bytes(v * unit)
	return nil
}

// A Span is a duration, or two: 200ms..1s.
type Span struct{ Least, Most time.Duration }

// UnmarshalYAML reads one or two durations.
func (s *Span) UnmarshalYAML(n *yaml.Node) error {
	least, most, two := strings.Cut(n.Value, "..")
	if !two {
		most = least
	}
	var err, err2 error
	s.Least, err = time.ParseDuration(least)
	s.Most, err2 = time.ParseDuration(most)
	if err := errors.Join(err, err2); err != nil || s.Least < 0 || s.Most < s.Least {
		return fmt.Errorf("line %d: %q is no time, as 500ms or 200ms..1s", n.Line, n.Value)
	}
	return nil
}

// bounds on what a plan may ask.
const (
	maxTimes   = 10_000
	maxClients = 256
	maxKeys    = 10_000
	maxWait    = 10 * time.Minute
)

func (p *Plan) withDefaults() {
	if p.Volume.Kind == "" {
		p.Volume.Kind = Directory
	}
	if p.Server.Build == "" {
		p.Server.Build = Release
	}
	l := &p.Load
	if l.Clients == 0 {
		l.Clients = 8
	}
	if l.Keys == 0 {
		l.Keys = 64
	}
	if l.weights() == (verify.Weights{}) {
		l.Puts, l.Uploads, l.Gets, l.Ranges, l.Deletes = 4, 1, 3, 1, 1
	}
	if len(l.Sizes) == 0 {
		l.Sizes = []Bytes{100, 4 << 10, 32 << 10, 200 << 10}
	}
	if l.Timeout == 0 {
		l.Timeout = 5 * time.Second
	}
	if len(p.Checkers) == 0 {
		p.Checkers = checkerNames
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		s.Times, s.Verify = cmp.Or(s.Times, 1), cmp.Or(s.Verify, 1)
		if s.After == (Span{}) {
			s.After = Span{200 * time.Millisecond, 800 * time.Millisecond}
		}
		if s.BiteWithin == 0 {
			s.BiteWithin = 30 * time.Second
		}
		if s.HealWithin == 0 {
			s.HealWithin = time.Minute
		}
	}
}

var planName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Validate says what is wrong with a plan, as after a change of it.
func (p *Plan) Validate() error {
	switch {
	case !planName.MatchString(p.Name):
		return fmt.Errorf("name %q: small letters, digits and hyphens", p.Name)
	case p.Asks == "" || p.Fails == "":
		return errors.New("a plan says what it asks and what would fail it (asks, fails)")
	case p.Volume.Kind != Directory && p.Volume.Kind != Tmpfs && p.Volume.Kind != Fuse:
		return fmt.Errorf("no kind of volume is called %q: there are directory, tmpfs, fuse", p.Volume.Kind)
	case (p.Volume.Kind == Tmpfs) != (p.Volume.Size > 0):
		return errors.New("a size belongs to a volume of the kind tmpfs, and to no other")
	case p.Server.Build != Release && p.Server.Build != Faults && p.Server.Build != PlantedBug:
		return fmt.Errorf("no build is called %q: there are release, faults, plantedbug", p.Server.Build)
	case p.Server.Files < 0:
		return errors.New("server: files is negative")
	case len(p.Steps) == 0:
		return errors.New("a plan without steps")
	}
	l := &p.Load
	switch {
	case l.Clients < 1 || l.Clients > maxClients || l.Keys < 1 || l.Keys > maxKeys:
		return fmt.Errorf("load: 1 to %d clients and 1 to %d keys", maxClients, maxKeys)
	case l.Puts < 1 || min(l.Uploads, l.Gets, l.Ranges, l.Deletes) < 0 || max(l.Puts, l.Uploads, l.Gets, l.Ranges, l.Deletes) > 1000:
		return errors.New("load: puts, uploads, gets, ranges and deletes are weights of 0 to 1000, of puts at least 1")
	case !(l.Rate >= 0 && l.Rate <= 1e6):
		return fmt.Errorf("load: a rate of %v", l.Rate)
	case l.Timeout < 100*time.Millisecond || l.Timeout > time.Minute:
		return errors.New("load: a timeout of 100ms to 1m")
	}
	for _, size := range l.Sizes {
		if size < verify.MinSize || size > 64<<20 {
			return fmt.Errorf("load: a size of %d bytes is not within %d to 64 MiB", size, verify.MinSize)
		}
	}
	for _, c := range p.Checkers {
		if !slices.Contains(checkerNames, c) {
			return fmt.Errorf("no checker is called %q: there are %s", c, strings.Join(checkerNames, ", "))
		}
	}
	for i := range p.Steps {
		if err := p.Steps[i].validate(p); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *Step) validate(p *Plan) error {
	kind, known := faults[s.Fault]
	switch {
	case !known:
		return fmt.Errorf("no fault is called %q: lab chaos list names them", s.Fault)
	case s.Times < 1 || s.Verify < 1:
		return errors.New("times and verify: must be at least 1")
	case s.Times > maxTimes:
		return fmt.Errorf("%d times, %d are allowed", s.Times, maxTimes)
	case s.After.Most > maxWait || s.Hold.Most > maxWait || s.BiteWithin > maxWait || s.HealWithin > maxWait || s.BiteWithin < 0 || s.HealWithin < 0:
		return fmt.Errorf("a time over %v, or below zero", maxWait)
	}
	f, err := kind.with(&s.With)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Fault, err)
	}
	if c, ok := f.(*clock); ok && c.Offset.Abs() >= 24*time.Hour && p.Load.Uploads > 0 {
		return errors.New("clock: a day or more ends uploads and forgets how they ended: set the load's uploads to 0")
	}
	s.fault = func() Fault {
		f, err := kind.with(&s.With)
		if err != nil {
			panic("chaos: settings that were good are not: " + err.Error())
		}
		return f
	}
	if missing := kind.missing(p); missing != "" {
		return fmt.Errorf("%s needs %s", s.Fault, missing)
	}
	return nil
}

// ParsePlan reads a plan. What it does not know is an error.
func ParsePlan(text []byte) (*Plan, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var p Plan
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("plan: more than one document")
	}
	p.withDefaults()
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("plan %s: %w", p.Name, err)
	}
	sum := sha256.Sum256(text)
	p.Hash = hex.EncodeToString(sum[:])
	return &p, nil
}

//go:embed plans/*.yaml
var planFiles embed.FS

// Plans returns the plans of this repository, by name.
func Plans() ([]*Plan, error) {
	var plans []*Plan
	err := fs.WalkDir(planFiles, "plans", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := planFiles.ReadFile(name)
		if err != nil {
			return err
		}
		p, err := ParsePlan(text)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if p.Name != strings.TrimSuffix(path.Base(name), ".yaml") {
			return fmt.Errorf("%s: its plan is called %s", name, p.Name)
		}
		plans = append(plans, p)
		return nil
	})
	return plans, err
}

// FindPlan reads a plan of this repository by its name, or any by its file's.
func FindPlan(name string) (*Plan, error) {
	var text []byte
	var err error
	if planName.MatchString(name) {
		text, err = planFiles.ReadFile("plans/" + name + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("no plan is called %q: lab chaos list names them; a file's name ends with .yaml", name)
		}
	} else if text, err = os.ReadFile(name); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	return ParsePlan(text)
}

// Faults names the faults of the steps, in order.
func (p *Plan) Faults() (names []string) {
	for _, s := range p.Steps {
		names = append(names, s.Fault)
	}
	return names
}

// Needs says what the plan needs beside a container engine: root always, since
// the volume is given to the server's user.
func (p *Plan) Needs() string {
	needs := []string{"root"}
	if p.Volume.Kind == Fuse {
		needs = append(needs, "/dev/fuse")
	}
	if p.Server.Build != Release {
		needs = append(needs, "a build with the tag "+string(p.Server.Build))
	}
	return strings.Join(needs, ", ")
}
