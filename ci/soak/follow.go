package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// An event is one line of `go test -json` (go doc test2json).
type event struct {
	Time    time.Time
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// A test is one, or a package, that has begun and not ended.
type test struct {
	name   string // with its package
	begun  time.Time
	waits  bool     // for its turn among parallel ones
	output []string // of a test without those below it
}

const (
	mostOutput = 400         // lines of one test that are kept for its failure
	worthALine = time.Second // a test that was shorter passes in silence
)

// A soak is what is known of a run of tests.
type soak struct {
	out     io.Writer
	start   time.Time
	running map[string]*test
	passed  int
	skipped []string
	failed  []string
}

func newSoak(out io.Writer, start time.Time) *soak {
	return &soak{out: out, start: start, running: map[string]*test{}}
}

// follow shows the events until they end; its error says that something failed.
func (s *soak) follow(r io.Reader, every time.Duration) error {
	lines, ended := make(chan string), make(chan error, 1)
	go func() {
		defer close(lines)
		b := bufio.NewReader(r)
		for {
			line, err := b.ReadString('\n')
			if line != "" {
				lines <- line
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.status(now)
		case line, more := <-lines:
			if !more {
				if err := <-ended; err != io.EOF {
					return fmt.Errorf("read the tests' events: %w", err)
				}
				return s.conclude(time.Now())
			}
			s.take(line)
		}
	}
}

// take is one line; what is not an event is shown as it is.
func (s *soak) take(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		fmt.Fprint(s.out, line)
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "start", "run":
		s.running[key] = &test{name: name(e), begun: e.Time}
	case "pause", "cont":
		if t := s.running[key]; t != nil {
			t.waits, t.begun = e.Action == "pause", e.Time
		}
	case "output":
		s.hear(s.running[key], e)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "pass", "skip", "fail":
		s.end(key, e)
	}
}

// hear keeps a line for the case that its test fails, and shows what a test
// logged: these are the figures.
func (s *soak) hear(t *test, e event) {
	if t == nil {
		return
	}
	if t.output = append(t.output, e.Output); len(t.output) > mostOutput {
		t.output = t.output[1:]
	}
	if e.Test != "" && strings.Contains(e.Output, "_test.go:") {
		s.say(e.Time, "     %s: %s", t.name, strings.TrimSpace(e.Output))
	}
}

func (s *soak) end(key string, e event) {
	t := s.running[key]
	delete(s.running, key)
	took := time.Duration(e.Elapsed * float64(time.Second)).Round(100 * time.Millisecond)
	switch {
	case e.Action == "fail":
		s.failed = append(s.failed, name(e))
		s.say(e.Time, "FAIL %s %v", name(e), took)
		if t != nil {
			fmt.Fprint(s.out, strings.Join(t.output, ""))
		}
	case e.Action == "skip" && e.Test != "":
		s.skipped = append(s.skipped, name(e))
		s.say(e.Time, "skip %s", name(e))
	case e.Action == "pass" && (took >= worthALine || e.Test == ""):
		s.say(e.Time, "ok   %s %v", name(e), took)
	}
	if e.Action == "pass" && e.Test != "" {
		s.passed++
	}
}

// status says what runs, of tests within tests the innermost, and how many wait
// for their turn.
func (s *soak) status(now time.Time) {
	tests := slices.SortedFunc(maps.Values(s.running), func(a, b *test) int { return cmp.Compare(a.name, b.name) })
	var runs []string
	n, waiting := 0, ""
	for i, t := range tests {
		if i+1 < len(tests) && (strings.HasPrefix(tests[i+1].name, t.name+" ") || strings.HasPrefix(tests[i+1].name, t.name+"/")) {
			continue
		}
		if t.waits {
			n++
			continue
		}
		runs = append(runs, fmt.Sprintf("%s (%v)", t.name, now.Sub(t.begun).Round(time.Second)))
	}
	if len(runs) == 0 {
		runs = []string{"the compiler"}
	}
	if n > 0 {
		waiting = fmt.Sprintf("; %d wait", n)
	}
	s.say(now, "     running: %s%s", strings.Join(runs, ", "), waiting)
}

func (s *soak) conclude(now time.Time) error {
	s.say(now, "%d tests passed, %d failed, %d skipped in %v", s.passed, len(s.failed), len(s.skipped), now.Sub(s.start).Round(time.Second))
	if len(s.failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(s.failed, ", "))
	}
	return nil
}

func (s *soak) say(at time.Time, format string, args ...any) {
	fmt.Fprintf(s.out, "%s "+format+"\n", append([]any{at.UTC().Format("15:04:05")}, args...)...)
}

// name is a package without the module, and the test.
func name(e event) string {
	p := strings.TrimPrefix(e.Package, "github.com/cairnstore/cairn/")
	return strings.TrimSpace(p + " " + e.Test)
}
