package scenario

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/load"
)

// A Scenario is one file.
type Scenario struct {
	Name string `yaml:"name"` // as the file's, without .yaml
	// Asks is the question that a run answers; Fails what makes the answer no.
	Asks  string `yaml:"asks"`
	Fails string `yaml:"fails"`

	// Objects are there before the load.
	Objects Objects `yaml:"objects"`
	// Mix has the weight of each operation.
	Mix         map[string]int `yaml:"mix"`
	Keys        Keys           `yaml:"keys"`
	Connections int            `yaml:"connections"`
	Open        *Open          `yaml:"open"`
	Closed      *Closed        `yaml:"closed"`
	BackOff     BackOff        `yaml:"back_off"`
	Multipart   *Multipart     `yaml:"multipart"`
	// Unverified is the share of gets of which only the length is checked.
	Unverified float64     `yaml:"unverified"`
	Background *Background `yaml:"background"`
	Thresholds []Threshold `yaml:"thresholds"`

	Engine *Engine `yaml:"engine"`

	// Hash is the SHA-256 of the file, and of the trace that it names.
	Hash  string   `yaml:"-"`
	trace []uint64 // of recorded keys
}

// Objects are a scenario's data.
type Objects struct {
	Count uint64 `yaml:"count"`
	Size  Size   `yaml:"size"`
}

// Size says how large objects are.
type Size struct {
	Kind string `yaml:"kind"` // fixed, log-normal, recorded
	// Bytes is that of a fixed size.
	Bytes Bytes `yaml:"bytes"`
	// Median, and Sigma of the natural logarithm, are log-normal's; sizes lie
	// within Min and Max.
	Median Bytes   `yaml:"median"`
	Sigma  float64 `yaml:"sigma"`
	Min    Bytes   `yaml:"min"`
	Max    Bytes   `yaml:"max"`
	// Recorded are sizes and how often each was seen.
	Recorded []Seen `yaml:"recorded"`
}

// Seen is one class of a recorded distribution.
type Seen struct {
	Bytes Bytes `yaml:"bytes"`
	Times int   `yaml:"times"`
}

// Keys say how gets, heads and overwrites choose objects.
type Keys struct {
	Kind     string  `yaml:"kind"` // uniform (default), zipf, hot-set, sequential, recorded
	Exponent float64 `yaml:"exponent"`
	// Objects and Requests are a hot set's shares.
	Objects  float64 `yaml:"objects"`
	Requests float64 `yaml:"requests"`
	// File is a recorded trace beside the scenario: on each line the number of
	// an object, or two with a dash between: a walk from the first to the second.
	File string `yaml:"file"`
}

// Open is an open loop: arrivals come when they are due.
type Open struct {
	Warmup   Duration `yaml:"warmup"`
	Arrivals string   `yaml:"arrivals"` // poisson (default), uniform
	Burst    int      `yaml:"burst"`
	GiveUp   Duration `yaml:"give_up"`
	// Drain is how long answers are waited for after the end; nil: as long as load does.
	Drain  *Duration `yaml:"drain"`
	Stages []Stage   `yaml:"stages"`
}

// Stage is a time of one rate, or of one that rises or falls to another.
type Stage struct {
	Name string   `yaml:"name"`
	For  Duration `yaml:"for"`
	Rate float64  `yaml:"rate"` // per second
	To   *float64 `yaml:"to"`   // at the end; nil: as Rate
	// Overload: more may come than can be carried. Arrivals that are dropped in
	// it leave the verdict as it is.
	Overload bool `yaml:"overload"`
}

// end is the rate at the stage's end.
func (s *Stage) end() float64 {
	if s.To == nil {
		return s.Rate
	}
	return *s.To
}

// Closed is a closed loop: the next request follows the last answer.
type Closed struct {
	Warmup   Duration `yaml:"warmup"`
	For      Duration `yaml:"for"`
	Requests int64    `yaml:"requests"`
}

// BackOff is the pause after a 503 or 429.
type BackOff struct {
	Min Duration `yaml:"min"`
	Max Duration `yaml:"max"`
}

// Multipart is how uploads in parts are made.
type Multipart struct {
	Parts    int     `yaml:"parts"`
	PartSize Bytes   `yaml:"part_size"`
	ReadBack float64 `yaml:"read_back"`
}

// Background are large uploads beside the load.
type Background struct {
	Size    Bytes `yaml:"size"`
	Rate    Bytes `yaml:"rate"` // per second, of all streams
	Streams int   `yaml:"streams"`
}

// Engine is a k6 script that opens the engine in process, held against one of
// the headline's targets.
type Engine struct {
	Script   string   `yaml:"script"` // beside the scenario
	Headline string   `yaml:"headline"`
	For      Duration `yaml:"for"`
}

// Bounds on what a file may ask for.
const (
	maxFile     = 1 << 20
	maxObjects  = 10_000_000
	maxTrace    = 2_000_000
	maxConns    = 10_000
	maxRate     = 10_000_000
	maxPrepared = 1 << 30 // largest body, since bodies lie in memory
	sizeClasses = 64
)

var namePattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Find reads the scenario of a name among files, or of a path that ends in .yaml.
func Find(files fs.FS, name string) (*Scenario, error) {
	isFile := strings.HasSuffix(name, ".yaml")
	if isFile {
		files, name = os.DirFS(filepath.Dir(name)), strings.TrimSuffix(filepath.Base(name), ".yaml")
	}
	info, err := fs.Stat(files, name+".yaml")
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("scenario %s: %s.yaml is not a regular file", name, name)
	}
	if err != nil && isFile {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		names, _ := Names(files)
		return nil, fmt.Errorf("no scenario %q: there are %s, and a path that ends in .yaml names a file", name, strings.Join(names, ", "))
	}
	f, err := files.Open(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	s, err := Parse(data)
	if err == nil && s.Name != name {
		err = fmt.Errorf("its name is %q: it must be the file's", s.Name)
	}
	if err == nil {
		err = s.addFiles(files, data)
	}
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	return s, nil
}

// Names are the scenarios among files.
func Names(files fs.FS) (names []string, err error) {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("list scenarios: %w", err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && !e.IsDir() {
			names = append(names, name)
		}
	}
	return names, nil
}

// addFiles reads what the scenario names, and hashes all of it.
func (s *Scenario) addFiles(files fs.FS, data []byte) error {
	hash := sha256.New()
	hash.Write(data)
	for _, name := range []string{s.Keys.File, s.script()} {
		if name == "" {
			continue
		}
		more, err := fs.ReadFile(files, path.Clean(name))
		if err != nil {
			return err
		}
		hash.Write(more)
		if name == s.Keys.File {
			if s.trace, err = parseTrace(more, s.Objects.Count); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	s.Hash = hex.EncodeToString(hash.Sum(nil))
	return nil
}

func (s *Scenario) script() string {
	if s.Engine == nil {
		return ""
	}
	return s.Engine.Script
}

// Parse reads a scenario. Fields that it does not know are errors.
func Parse(data []byte) (*Scenario, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("over %d bytes", maxFile)
	}
	var s Scenario
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&s); errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	} else if err != nil {
		return nil, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("a file holds one document")
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	return &s, nil
}

func (s *Scenario) validate() error {
	switch {
	case !namePattern.MatchString(s.Name) || len(s.Name) > 50:
		return fmt.Errorf("name %.60q: want small letters, digits and single dashes", s.Name)
	case strings.TrimSpace(s.Asks) == "" || strings.TrimSpace(s.Fails) == "":
		return errors.New("asks and fails are missing: a scenario says what it asks and what would fail it")
	case s.Engine != nil:
		return s.validateEngine()
	case (s.Open == nil) == (s.Closed == nil):
		return errors.New("give open, closed or engine: one of them")
	case s.Connections < 1 || s.Connections > maxConns:
		return fmt.Errorf("connections %d: want 1 to %d", s.Connections, maxConns)
	case s.Objects.Count > maxObjects:
		return fmt.Errorf("objects.count %d: want up to %d", s.Objects.Count, maxObjects)
	case !share(s.Unverified):
		return fmt.Errorf("unverified %g: want a share from 0 to 1", s.Unverified)
	case s.BackOff.Max < s.BackOff.Min:
		return errors.New("back_off: max is less than min")
	case len(s.Thresholds) == 0:
		return errors.New("thresholds are missing: nothing would fail it")
	}
	for _, check := range []func() error{s.validateMix, s.Objects.Size.validate, s.validateOverwrites, s.validateKeys, s.validateOpen, s.validateClosed, s.validateMultipart, s.validateBackground, s.validateThresholds} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func share(v float64) bool { return v >= 0 && v <= 1 }

func (s *Scenario) validateEngine() error {
	e := s.Engine
	if _, err := headline.ByName(e.Headline); err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	if !fs.ValidPath(e.Script) || !strings.HasSuffix(e.Script, ".js") {
		return fmt.Errorf("engine: script %.60q: want the path of a .js file below the scenario", e.Script)
	}
	if e.For <= 0 {
		return errors.New("engine: it needs a time (for)")
	}
	if len(s.Mix)+len(s.Thresholds)+s.Connections > 0 || s.Open != nil || s.Closed != nil || s.Background != nil || s.Multipart != nil || s.Objects.Count > 0 {
		return errors.New("engine: the load is the script's and the thresholds are the headline's, so nothing else is given")
	}
	return nil
}

func (s *Scenario) validateMix() error {
	if len(s.Mix) == 0 {
		return errors.New("mix is missing")
	}
	for name, weight := range s.Mix {
		op, ok := load.OpByName(name)
		if !ok {
			return fmt.Errorf("mix: no operation %.40q: there are %s", name, strings.ToLower(strings.Join(load.OpNames(), ", ")))
		}
		if weight < 1 || weight > 1_000_000 {
			return fmt.Errorf("mix: weight %d of %s: want 1 to 1000000", weight, name)
		}
		if (op == load.Get || op == load.Head || op == load.List || op == load.Overwrite) && s.Objects.Count == 0 {
			return fmt.Errorf("mix: %s needs objects (objects.count)", name)
		}
	}
	if s.has(load.Delete) && !s.has(load.Put) {
		for _, op := range []load.Op{load.Get, load.Head} {
			if s.has(op) {
				return fmt.Errorf("mix: delete beside %s needs put: else it takes the objects that are read", strings.ToLower(op.String()))
			}
		}
	}
	return nil
}

// has reports whether the mix has an operation.
func (s *Scenario) has(op load.Op) bool {
	for name := range s.Mix {
		if o, ok := load.OpByName(name); ok && o == op {
			return true
		}
	}
	return false
}

func (s *Scenario) validateOverwrites() error {
	if !s.has(load.Overwrite) {
		return nil
	}
	if least := slices.Min(s.Objects.Size.classes()); least < load.SmallestOverwritten {
		return fmt.Errorf("mix: overwrite needs objects of %d bytes or more, to tell one body from the next: there are some of %d", load.SmallestOverwritten, least)
	}
	return nil
}

func (z Size) validate() error {
	switch z.Kind {
	case "fixed":
		if z.Bytes > maxPrepared {
			return fmt.Errorf("size: %d bytes: want up to 1GiB", z.Bytes)
		}
	case "log-normal":
		if z.Median < 1 || !(z.Sigma > 0 && z.Sigma <= 5) || z.Min > z.Median || z.Max < z.Median || z.Max > maxPrepared {
			return errors.New("size: log-normal needs median, sigma from 0 to 5, and min and max on both sides of the median, up to 1GiB")
		}
	case "recorded":
		if len(z.Recorded) == 0 || len(z.Recorded) > 10_000 {
			return errors.New("size: recorded needs 1 to 10000 classes")
		}
		for _, c := range z.Recorded {
			if c.Times < 1 || c.Times > 1e9 || c.Bytes > maxPrepared {
				return fmt.Errorf("size: class of %d bytes, seen %d times: want up to 1GiB and once at least", c.Bytes, c.Times)
			}
		}
	default:
		return fmt.Errorf("size: kind %.40q: there are fixed, log-normal, recorded", z.Kind)
	}
	return nil
}

// classes are the sizes that stand for the distribution, each as likely as
// another: the value in the middle of each of its equal parts.
func (z Size) classes() []int {
	switch z.Kind {
	case "log-normal":
		all := make([]int, sizeClasses)
		for i := range all {
			p := (float64(i) + .5) / sizeClasses
			normal := math.Sqrt2 * math.Erfinv(2*p-1)
			v := float64(z.Median) * math.Exp(z.Sigma*normal)
			all[i] = int(math.Round(min(max(v, float64(z.Min)), float64(z.Max))))
		}
		return all
	case "recorded":
		seen := slices.SortedFunc(slices.Values(z.Recorded), func(a, b Seen) int { return int(a.Bytes - b.Bytes) })
		total := 0
		for _, c := range seen {
			total += c.Times
		}
		all := make([]int, min(sizeClasses, total))
		for i := range all {
			at := (float64(i) + .5) / float64(len(all)) * float64(total)
			for _, c := range seen {
				all[i] = int(c.Bytes)
				if at -= float64(c.Times); at < 0 {
					break
				}
			}
		}
		return all
	}
	return []int{int(z.Bytes)}
}

func (s *Scenario) validateKeys() error {
	k := s.Keys
	switch k.Kind {
	case "", "uniform", "sequential":
	case "zipf":
		if !(k.Exponent > 1 && k.Exponent <= 5) {
			return fmt.Errorf("keys: exponent %g: want above 1, up to 5", k.Exponent)
		}
	case "hot-set":
		if !(k.Objects > 0 && k.Objects < 1 && k.Requests > 0 && k.Requests < 1) {
			return errors.New("keys: hot-set needs the shares objects and requests, each between 0 and 1")
		}
	case "recorded":
		if !fs.ValidPath(k.File) || k.File == "." {
			return fmt.Errorf("keys: file %.60q: want the path of a trace below the scenario", k.File)
		}
	default:
		return fmt.Errorf("keys: kind %.40q: there are uniform, zipf, hot-set, sequential, recorded", k.Kind)
	}
	return nil
}

func (s *Scenario) validateOpen() error {
	o := s.Open
	if o == nil {
		return nil
	}
	if o.Arrivals != "" && o.Arrivals != "poisson" && o.Arrivals != "uniform" {
		return fmt.Errorf("open: arrivals %.40q: there are poisson, uniform", o.Arrivals)
	}
	if o.Burst < 0 || o.Burst > 100_000 {
		return fmt.Errorf("open: burst %d: want up to 100000", o.Burst)
	}
	if len(o.Stages) == 0 || len(o.Stages) > 100 {
		return errors.New("open: it needs 1 to 100 stages")
	}
	seen := map[string]bool{}
	for _, st := range o.Stages {
		switch {
		case !namePattern.MatchString(st.Name) || seen[st.Name]:
			return fmt.Errorf("open: stage %.40q: want a name of its own of small letters, digits and dashes", st.Name)
		case st.For <= 0:
			return fmt.Errorf("open: stage %s needs a time (for)", st.Name)
		case !(st.Rate > 0 && st.Rate <= maxRate && st.end() >= 0 && st.end() <= maxRate):
			return fmt.Errorf("open: stage %s: want rates above 0 (at its end, 0 too), up to %d per second", st.Name, maxRate)
		}
		seen[st.Name] = true
	}
	return nil
}

func (s *Scenario) validateClosed() error {
	if c := s.Closed; c != nil && (c.For <= 0 || c.Requests < 0) {
		return errors.New("closed: it needs a time (for), and no negative number of requests")
	}
	return nil
}

func (s *Scenario) validateMultipart() error {
	m := s.Multipart
	if (m != nil) != s.has(load.MultipartUpload) {
		return errors.New("multipart: the mix and the part belong together")
	}
	if m != nil && (m.Parts < 1 || m.Parts > 10_000 || m.PartSize < 5<<20 || m.PartSize > maxPrepared || !share(m.ReadBack)) {
		return errors.New("multipart: want 1 to 10000 parts of 5MiB to 1GiB, and read_back from 0 to 1")
	}
	return nil
}

func (s *Scenario) validateBackground() error {
	if b := s.Background; b != nil && (b.Size < 1 || b.Streams < 0 || b.Streams > 1000) {
		return errors.New("background: it needs a size, and up to 1000 streams")
	}
	return nil
}

func (s *Scenario) validateThresholds() error {
	for _, t := range s.Thresholds {
		if op, ok := load.OpByName(t.op); ok && !s.has(op) {
			return fmt.Errorf("threshold %q: the mix has no %s", t, t.op)
		}
		if t.stage != "" {
			if s.Open == nil || len(s.Open.Stages) < 2 || !slices.ContainsFunc(s.Open.Stages, func(st Stage) bool { return st.Name == t.stage }) {
				return fmt.Errorf("threshold %q: of the stages of an open loop that has several, none is called %q", t, t.stage)
			}
		}
		if (t.metric == "achieved" || t.metric == "dropped") && s.Open == nil {
			return fmt.Errorf("threshold %q: a closed loop offers nothing and drops nothing", t)
		}
		if t.metric == "background.errors" && s.Background == nil {
			return fmt.Errorf("threshold %q: there is no background", t)
		}
	}
	return nil
}

// Time is how long the load takes, without its preparation.
func (s *Scenario) Time() time.Duration {
	var d Duration
	switch {
	case s.Engine != nil:
		d = s.Engine.For
	case s.Closed != nil:
		d = s.Closed.Warmup + s.Closed.For
	default:
		d = s.Open.Warmup
		for _, st := range s.Open.Stages {
			d += st.For
		}
	}
	return time.Duration(d)
}
