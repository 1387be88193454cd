package probe

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Profiles that were kept must open for ever, and be written as they were.
func TestKeptProfilesOpen(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "v*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		p, err := Load(name)
		require.NoError(t, err, name)
		var again bytes.Buffer
		require.NoError(t, p.Encode(&again))
		require.Equal(t, string(text), again.String(), name)
	}
}

// The profiles of the repository are of machines, and none says a host's name.
func TestProfilesOfTheRepositoryOpen(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "hardware", "profiles", "*.yaml"))
	require.NoError(t, err)
	host, err := os.Hostname()
	require.NoError(t, err)
	for _, name := range files {
		p, err := Load(name)
		require.NoError(t, err, name)
		require.Positive(t, p.SyncP50US(), name)
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if len(host) > 3 && host != "localhost" {
			require.NotRegexp(t, `\b`+regexp.QuoteMeta(host)+`\b`, string(text))
		}
	}
}

func TestGoldenSaysWhatItDid(t *testing.T) {
	p, err := Load(filepath.Join("testdata", "v1.yaml"))
	require.NoError(t, err)
	require.Equal(t, 2, p.CPU.Threads)
	require.Equal(t, 100.5, p.SyncP50US(), "the best of the recycled ones of 4 KiB")
	require.Equal(t, 300.0, p.SyncP99US())
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.Contains(t, string(text), `"reads_per_s":5000`)
	var out bytes.Buffer
	require.NoError(t, p.Write(&out))
	for _, want := range []string{"Example CPU: 2 threads", "recycled (O_DIRECT)  4 KiB", "warning: an example", "the machine was quiet"} {
		require.Contains(t, out.String(), want)
	}
}

// A profile of before queue depths is shown without them.
func TestQueueDepthsAreShownWhereTheyWereMeasured(t *testing.T) {
	show := func(name string) string {
		p, err := Load(filepath.Join("testdata", name))
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, p.Write(&out))
		return out.String()
	}
	require.NotContains(t, show("v1.yaml"), "durable")
	require.NotContains(t, show("v1.yaml"), "queue depths")
	require.Regexp(t, `(?m)^  4 \(O_DIRECT\) +4 KiB +16000 +220 +700$`, show("v2.yaml"))
	require.Regexp(t, `(?m)^  write +16 +1 MiB +2200 +7000 +9000$`, show("v2.yaml"))
}

func TestSaveReplacesWhole(t *testing.T) {
	p, err := Load(filepath.Join("testdata", "v1.yaml"))
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "p.yaml")
	require.NoError(t, os.WriteFile(name, []byte("old"), 0o600))
	require.NoError(t, p.Save(name))
	back, err := Load(name)
	require.NoError(t, err)
	require.Equal(t, p, back)
	p.Noise.SpinMS = math.NaN()
	require.ErrorContains(t, p.Save(name), "Noise.SpinMS")
	_, err = Load(name)
	require.NoError(t, err, "what was there stays")
}

func TestBadProfilesAreRefused(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.yaml"))
	require.NoError(t, err)
	change := func(from, to string) string {
		require.Contains(t, string(golden), from)
		return strings.Replace(string(golden), from, to, 1)
	}
	for _, c := range []struct{ text, want string }{
		{"", "version is 0"},
		{"version: 99\n", "version is 99"},
		{"- a\n", "cannot unmarshal"},
		{change("quick: false", "quick: false\nsurprise: 1"), "surprise"},
		{change("threads: 2", "threads: 0"), "cpu.threads"},
		{change("total_bytes: 1073741824", "total_bytes: 0"), "memory.total_bytes"},
		{change("p50_us: 100.5", "p50_us: .nan"), "Disk.Fdatasync"},
		{change("p50_us: 100.5", "p50_us: -1"), "P50US is -1"},
		{change("level: quiet", "level: silent"), "silent"},
		{string(golden) + "---\nversion: 1\n", "more than one"},
		{strings.Repeat("#", maxFile+1), "more than"},
	} {
		_, err := Decode([]byte(c.text))
		require.ErrorContains(t, err, c.want)
	}
	_, err = Load(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// FuzzDecode: no bytes make it panic, and what it accepts comes back the same.
func FuzzDecode(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.yaml"))
	require.NoError(f, err)
	f.Add(golden)
	f.Add([]byte("version: 1\ncpu: {threads: 1}\nmemory: {total_bytes: 1}\nnoise: {level: quiet}\n"))
	f.Add([]byte("version: 1\na: &a [*a, *a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err != nil {
			return
		}
		var text bytes.Buffer
		require.NoError(t, p.Encode(&text))
		again, err := Decode(text.Bytes())
		require.NoError(t, err)
		var twice bytes.Buffer
		require.NoError(t, again.Encode(&twice))
		require.Equal(t, text.String(), twice.String())
		require.NoError(t, p.Write(&bytes.Buffer{}))
	})
}
