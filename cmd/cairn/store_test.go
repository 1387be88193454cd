package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/store"
)

// written is a data directory with a few objects in it, closed.
func written(t *testing.T) (dir string, objects int) {
	t.Helper()
	dir = t.TempDir()
	ctx := context.Background()
	e, err := engine.Open(ctx, engine.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	require.NoError(t, e.CreateBucket(ctx, "photos"))
	for i := range 20 {
		_, err := e.Put(ctx, "photos", fmt.Sprint("small/", i), strings.NewReader(strings.Repeat("small", i+1)), -1)
		require.NoError(t, err)
	}
	require.NoError(t, e.Delete(ctx, "photos", "small/3"))
	_, err = e.Put(ctx, "photos", "large", bytes.NewReader(make([]byte, 3<<20)), 3<<20)
	require.NoError(t, err)
	require.NoError(t, e.Close(ctx))
	return dir, 20
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err == nil {
			out[p] = fmt.Sprint(info.Size(), info.ModTime(), info.Mode())
		}
		return err
	}))
	return out
}

func TestStoreCheck(t *testing.T) {
	dir, _ := written(t)
	before := snapshot(t, dir)
	got := inProcess("store", "check", dir)
	require.Equal(t, exitOK, got.code, got.out+got.errOut)
	require.Empty(t, got.errOut)
	require.Contains(t, got.out, "sound\n")
	require.Contains(t, got.out, "blobs     1 in 3 chunks")
	got = inProcess("store", "check", "--json", dir)
	require.Equal(t, exitOK, got.code)
	var r store.CheckReport
	require.NoError(t, json.Unmarshal([]byte(got.out), &r))
	require.True(t, r.Sound())
	require.Contains(t, got.out, `"damage": []`)
	require.Equal(t, before, snapshot(t, dir))

	names, err := filepath.Glob(filepath.Join(dir, "bulk", "*.seg"))
	require.NoError(t, err)
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{1}, 4096+4096+100)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	got = inProcess("store", "check", dir)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.out, "damage: chunk, segment")
	require.Contains(t, got.out, filepath.Base(names[0]))
	require.NotContains(t, got.out, "sound\n")
	require.Contains(t, got.errOut, "damaged in 1 places")
	got = inProcess("store", "check", "--json", dir)
	require.Equal(t, exitFailure, got.code)
	require.NoError(t, json.Unmarshal([]byte(got.out), &r))
	require.Equal(t, int64(1), r.DamageCount)
}

func TestStoreRebuild(t *testing.T) {
	dir, objects := written(t)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "index")))
	got := inProcess("store", "check", dir)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.out, "damage: index, index at 0: it is missing")
	got = inProcess("store", "rebuild", dir)
	require.Equal(t, exitOK, got.code, got.out+got.errOut)
	require.Contains(t, got.out, "sound\n")
	require.Equal(t, exitOK, inProcess("store", "check", dir).code)

	ctx := context.Background()
	e, err := engine.Open(ctx, engine.Options{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	page, err := e.List(ctx, "photos", "", "", 1000)
	require.NoError(t, err)
	require.Len(t, page.Objects, objects)
	for _, args := range [][]string{{"check"}, {"rebuild"}, {"stat"}} {
		got := inProcess("store", args[0], dir)
		require.Equal(t, exitFailure, got.code)
		require.Contains(t, got.errOut, "stop the server first")
	}
	require.NoError(t, e.Close(ctx))
}

func TestStoreStat(t *testing.T) {
	dir, _ := written(t)
	before := snapshot(t, dir)
	got := inProcess("store", "stat", dir)
	require.Equal(t, exitOK, got.code, got.errOut)
	lines := strings.Split(got.out, "\n")
	require.Contains(t, lines[0], "garbage")
	require.Regexp(t, `log/\d+\.seg`, got.out)
	require.Regexp(t, `total`, got.out)
	got = inProcess("store", "stat", "--json", dir)
	require.Equal(t, before, snapshot(t, dir))
	var r store.UsageReport
	require.NoError(t, json.Unmarshal([]byte(got.out), &r))
	var live int64
	for _, s := range r.Segments {
		live += s.Live
		require.LessOrEqual(t, s.Used, s.Size)
		require.LessOrEqual(t, s.Live+s.Garbage, s.Used)
	}
	require.Equal(t, r.Total.Live, live)
	require.Greater(t, live, int64(3<<20))
	require.Positive(t, r.IndexBytes)
	require.Positive(t, r.Watermark.Sequence)
	require.Positive(t, r.Total.Tombstones)
}

func TestProgressLine(t *testing.T) {
	var b bytes.Buffer
	p := newProgressLine(&b)
	p.show(store.Progress{Phase: "log", Unit: "bytes", Done: 1, Total: 2})
	require.Empty(t, b.String(), "nothing before two seconds")
	p.next = time.Now().Add(-time.Second)
	p.show(store.Progress{Phase: "log", Unit: "bytes", Done: 3 << 20, Total: 12 << 20})
	p.show(store.Progress{Phase: "log", Unit: "bytes", Done: 4 << 20, Total: 12 << 20})
	p.end()
	require.Equal(t, "log: 3.0 MiB of 12.0 MiB, 25 %\n", b.String())
	p.next, p.terminal = time.Now().Add(-time.Second), true
	b.Reset()
	p.show(store.Progress{Phase: "index", Unit: "entries", Done: 10, Total: 0})
	p.end()
	require.Equal(t, "\r\x1b[Kindex: 10\r\x1b[K", b.String())
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB", 3 << 50: "3072.0 TiB"} {
		require.Equal(t, want, size(n))
	}
}
