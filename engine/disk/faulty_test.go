package disk_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/disk/disktest"
)

func TestFaultyConforms(t *testing.T) {
	for _, rules := range []string{
		"",
		"sync no-such-file: lose\nread no-such-file: EIO", // notes what writes replace
		"* * every 100: delay 1us",
	} {
		t.Run(rules, func(t *testing.T) {
			disktest.Run(t, func(t *testing.T) disk.FS { return faulty(t, disk.NewMemory(1), rules) })
		})
	}
}

func TestFaultyOverAnotherConforms(t *testing.T) {
	disktest.Run(t, func(t *testing.T) disk.FS {
		return faulty(t, faulty(t, disk.NewMemory(1), "sync x: lose"), "read x: flip")
	})
}

func faulty(t *testing.T, inner disk.FS, rules string) *disk.Faulty {
	t.Helper()
	f := disk.NewFaulty(inner, 1)
	require.NoError(t, f.AddText(rules))
	return f
}

// The scripts under testdata/faults have one step a line: a rule, or an
// operation and what came of it after the equals sign. Zero bytes read as
// dots.
func TestFaultScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			s := newScript(t)
			for i, line := range strings.Split(string(text), "\n") {
				line = strings.TrimSpace(line)
				if line == "" || line[0] == '#' {
					continue
				}
				step, want, _ := strings.Cut(line, "=")
				got := s.step(strings.TrimSpace(step))
				require.Equal(t, strings.TrimSpace(want), got, "%s:%d: %s", file, i+1, step)
			}
		})
	}
}

type script struct {
	t      *testing.T
	memory *disk.Memory
	drive  *disk.Faulty
	open   map[string]disk.File
}

func newScript(t *testing.T) *script {
	m := disk.NewMemory(1)
	return &script{t, m, disk.NewFaulty(m, 1), map[string]disk.File{}}
}

func (s *script) step(step string) string {
	words := strings.Fields(step)
	arg := func(i int) string { return words[i] }
	number := func(i int) int64 {
		n, err := strconv.ParseInt(words[i], 10, 64)
		require.NoError(s.t, err, step)
		return n
	}
	switch words[0] {
	case "rule":
		require.NoError(s.t, s.drive.AddText(strings.TrimPrefix(step, "rule ")))
		return ""
	case "clear":
		s.drive.Clear()
		return ""
	case "crash":
		s.memory = s.memory.Crash(disk.NothingUnsynced, nil)
		s.drive, s.open = disk.NewFaulty(s.memory, 1), map[string]disk.File{}
		return ""
	case "create":
		f, err := s.drive.Create(arg(1))
		if err == nil {
			s.open[arg(1)] = f
		}
		return outcome(err)
	case "write":
		n, err := s.file(arg(1)).WriteAt([]byte(arg(3)), number(2))
		if err != nil && n > 0 {
			return outcome(err) + ", a part was written"
		}
		return outcome(err)
	case "read":
		return s.read(arg(1))
	case "sync":
		return outcome(s.file(arg(1)).Sync())
	case "preallocate":
		return outcome(s.file(arg(1)).Preallocate(number(2), number(3)))
	case "rename":
		return s.rename(arg(1), arg(2))
	case "remove":
		return outcome(s.drive.Remove(arg(1)))
	case "mkdir":
		return outcome(s.drive.MkdirAll(arg(1)))
	case "syncdir":
		return outcome(s.drive.SyncDir(arg(1)))
	case "lock":
		_, err := s.drive.Lock(arg(1))
		return outcome(err)
	case "list":
		_, err := s.drive.List(arg(1))
		return outcome(err)
	case "stat":
		_, err := s.drive.Stat(arg(1))
		return outcome(err)
	}
	require.Fail(s.t, "unknown step", step)
	return ""
}

// file returns the handle from when the file was created, under whatever name.
func (s *script) file(name string) disk.File {
	f := s.open[name]
	if f == nil {
		var err error
		f, err = s.drive.Open(name)
		require.NoError(s.t, err)
		s.open[name] = f
	}
	return f
}

func (s *script) read(name string) string {
	if _, err := s.drive.Stat(name); err != nil {
		return outcome(err)
	}
	f := s.file(name)
	size, err := f.Size()
	require.NoError(s.t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return outcome(err)
	}
	return strings.ReplaceAll(string(b), "\x00", ".")
}

func (s *script) rename(from, to string) string {
	err := s.drive.Rename(from, to)
	if err == nil {
		for name, f := range s.open {
			if name == from || strings.HasPrefix(name, from+"/") {
				delete(s.open, name)
				s.open[to+strings.TrimPrefix(name, from)] = f
			}
		}
	}
	return outcome(err)
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, disk.ErrFull) && errors.Is(err, syscall.ENOSPC):
		return "ENOSPC"
	case errors.Is(err, syscall.EIO):
		return "EIO"
	case errors.Is(err, os.ErrNotExist):
		return "missing"
	}
	return err.Error()
}

func TestRuleConditions(t *testing.T) {
	for _, c := range []struct {
		conditions string
		want       string // x where it fires
	}{
		{"", "xxxxxxxxxxxx"},
		{"after 10", "..........xx"},
		{"nth 3", "..x........."},
		{"every 5", "....x....x.."},
		{"times 2", "xx.........."},
		{"after 2 every 3 times 2", "....x..x...."},
		{"after 4 nth 2", ".....x......"},
		{"prob 1", "xxxxxxxxxxxx"},
	} {
		d := faulty(t, disk.NewMemory(1), "stat * "+c.conditions+": EIO")
		got := ""
		for range len(c.want) {
			_, err := d.Stat(".")
			got += map[bool]string{true: "x", false: "."}[err != nil]
		}
		require.Equal(t, c.want, got, c.conditions)
		require.Equal(t, int64(strings.Count(c.want, "x")), d.Fired())
	}
}

func TestRuleChance(t *testing.T) {
	d := faulty(t, disk.NewMemory(1), "stat * prob 0.25: EIO")
	for range 4000 {
		_, _ = d.Stat(".")
	}
	require.InDelta(t, 1000, d.Fired(), 150)
}

func TestRulesTogether(t *testing.T) {
	d := faulty(t, disk.NewMemory(1), `
		* *: delay 10ms
		stat * nth 2: ENOSPC
		stat * every 2: EIO
		* * nth 3: delay 10ms`)
	var got []string
	var took []time.Duration
	for range 4 {
		start := time.Now()
		_, err := d.Stat(".")
		got, took = append(got, outcome(err)), append(took, time.Since(start))
	}
	require.Equal(t, []string{"ok", "ENOSPC", "ok", "EIO"}, got)
	require.GreaterOrEqual(t, took[0], 10*time.Millisecond)
	require.GreaterOrEqual(t, took[2], 20*time.Millisecond)
}

// The borrowed buffer of a write that is flipped on its way stays as it was.
func TestFlipLeavesTheCallersBuffer(t *testing.T) {
	d := faulty(t, disk.NewMemory(1), "write *: flip")
	f := create(t, d, "a", "")
	b := make([]byte, 100)
	_, err := f.WriteAt(b, 0)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 100), b)
	require.NotEqual(t, string(b), read(t, d, "a"))
}

// Writers and syncers beside one that loses: after a good sync of all, nothing
// that a sync acknowledged is ever taken back.
func TestLoseTakesNothingSynced(t *testing.T) {
	d := faulty(t, disk.NewMemory(1), "sync * prob 0.3: lose")
	f := create(t, d, "a", strings.Repeat("\x00", 8))
	d.Clear()
	require.NoError(t, f.Sync())
	require.NoError(t, d.AddText("sync * prob 0.3: lose"))
	var all sync.WaitGroup
	var mu sync.RWMutex // held alone by a step that must see no other's loss
	for w := range 4 {
		all.Go(func() {
			for i := 1; i <= 200; i++ {
				mu.Lock()
				before := make([]byte, 1)
				_, readErr := f.ReadAt(before, int64(w))
				_, writeErr := f.WriteAt([]byte{byte(i)}, int64(w))
				err := f.Sync()
				after := make([]byte, 1)
				_, againErr := f.ReadAt(after, int64(w))
				mu.Unlock()
				want := byte(i)
				if err != nil {
					want = before[0]
				}
				if e := errors.Join(readErr, writeErr, againErr); e != nil || after[0] != want {
					t.Errorf("writer %d round %d: %d, want %d (%v, %v)", w, i, after[0], want, err, e)
				}
			}
		})
	}
	all.Wait()
	require.Positive(t, d.Fired())
}

func TestRulesMayChangeBesideOperations(t *testing.T) {
	d := faulty(t, disk.NewMemory(1), "")
	f := create(t, d, "a", "abc")
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for range 300 {
				_, writeErr := f.WriteAt([]byte("xyz"), 0)
				_, readErr := f.ReadAt(make([]byte, 3), 0)
				for _, err := range []error{writeErr, readErr, f.Sync()} {
					if err != nil && !errors.Is(err, syscall.EIO) {
						t.Error(err)
					}
				}
			}
		})
	}
	for i := range 300 {
		require.NoError(t, d.AddText(fmt.Sprintf("* * every %d: EIO\nsync * every 3: lose", i%5+2)))
		if i%3 == 0 {
			d.Clear()
		}
	}
	all.Wait()
	d.Clear()
	write(t, f, 0, "end")
	require.NoError(t, f.Sync())
	require.Equal(t, "end", read(t, d, "a"))
}

func TestParseRules(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"# only\n\n  # comments\n":         "",
		"* *: EIO":                         "* *: EIO",
		"  write\tseg-*  after 10 :ENOSPC": "write seg-* after 10: ENOSPC",
		"read,write a/b:c every 7 prob 0.5 times 3: flip\nsync * nth 2: lose": "read,write a/b:c every 7 prob 0.5 times 3: flip\nsync * nth 2: lose",
		"* [a-z]?: delay 1500us": "* [a-z]?: delay 1.5ms",
		"write *: torn":          "write *: torn",
		"* *: short":             "* *: short", // meets writes alone
	} {
		rules, err := disk.ParseRules(text)
		require.NoError(t, err, text)
		require.Equal(t, want, show(rules))
	}
	for text, want := range map[string]string{
		"write *":                    "has no effect",
		"write: EIO":                 "lacks operations and a glob",
		"\n\nwrit *: EIO":            `line 3: no operation is called "writ"`,
		"write, *: EIO":              `no operation is called ""`,
		"write [: EIO":               "is no glob",
		"write * often: EIO":         `"often" is no condition`,
		"write * nth: EIO":           "nth lacks its number",
		"write * nth 0: EIO":         "nth lacks its number",
		"write * nth 1 nth 2: EIO":   `"nth" is no condition, or not at its place`,
		"write * times 1 nth 2: EIO": `"nth" is no condition, or not at its place`,
		"write * prob 2: EIO":        "prob lacks its number",
		"write * prob NaN: EIO":      "prob lacks its number",
		"write *: ":                  "no effect after the colon",
		"write *: ESPACE":            `no effect is called "ESPACE"`,
		"write *: EIO now":           "too much after EIO",
		"read *: torn":               "read has no torn",
		"write,sync *: lose":         "write has no lose",
		"read *: delay":              "a delay is more than nothing",
		"read *: delay 1h":           "at most 1m0s",
		"read *: delay fast":         "invalid duration",
	} {
		_, err := disk.ParseRules(text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestAddChecksRules(t *testing.T) {
	d := disk.NewFaulty(disk.NewMemory(1), 1)
	for _, r := range []disk.Rule{
		{},
		{Glob: "*", Nth: -1},
		{Glob: "*", Prob: 1.5},
		{Glob: "*", Delay: time.Second},
		{Glob: "*", Effect: 100},
		{Glob: "*", Ops: []disk.OpKind{100}},
		{Glob: "*", Ops: []disk.OpKind{disk.OpRead}, Effect: disk.EffectLose},
	} {
		require.Error(t, d.Add(r), r.String())
	}
	require.NoError(t, d.Add(disk.Rule{Glob: "*"}))
	_, err := d.Stat(".")
	require.ErrorIs(t, err, syscall.EIO)
}

func show(rules []disk.Rule) string {
	lines := make([]string, len(rules))
	for i, r := range rules {
		lines[i] = r.String()
	}
	return strings.Join(lines, "\n")
}

// What is accepted can be printed, read again, and added.
func FuzzParseRules(f *testing.F) {
	files, err := filepath.Glob("testdata/faults/*.txt")
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
		for line := range strings.Lines(string(text)) {
			if rule, ok := strings.CutPrefix(line, "rule "); ok {
				f.Add(rule)
			}
		}
	}
	f.Add("read,write a/b:c after 1 nth 2 every 7 prob 1e-3 times 3: flip\n* *: delay 5ms")
	f.Fuzz(func(t *testing.T, text string) {
		rules, err := disk.ParseRules(text)
		if err != nil {
			return
		}
		require.NoError(t, disk.NewFaulty(disk.NewMemory(1), 1).Add(rules...))
		again, err := disk.ParseRules(show(rules))
		require.NoError(t, err)
		require.Equal(t, rules, again)
	})
}
