package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// numbers are those of a log's lines "line N", and of each line that stands for dropped ones
// its count, negative.
func numbers(t *testing.T, text string) (all []int) {
	t.Helper()
	for line := range strings.Lines(text) {
		var n int
		if _, err := fmt.Sscanf(line, "line %d ", &n); err == nil {
			all = append(all, n)
			continue
		}
		var told struct {
			Msg   string `json:"msg"`
			Count int    `json:"count"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &told), line)
		require.Equal(t, "log lines were dropped", told.Msg)
		all = append(all, -told.Count)
	}
	return all
}

func TestLinesAreWrittenInTheirOrder(t *testing.T) {
	var out bytes.Buffer
	l := NewLines(&out)
	require.True(t, l.Flush(0), "there is nothing to wait for")
	for i := range 10_000 {
		fmt.Fprintf(l, "line %d \n", i)
	}
	require.True(t, l.Flush(10*time.Second))
	all := numbers(t, out.String())
	require.Len(t, all, 10_000)
	for i, n := range all {
		require.Equal(t, i, n)
	}
	require.Zero(t, l.Dropped())
}

// Nobody waits for a reader that stands still. What there was no room for is told of where it
// is missing, once there is room again.
func TestAReaderThatStandsStillHoldsNobodyUp(t *testing.T) {
	r, w := io.Pipe()
	l := NewLines(w)
	filler := strings.Repeat("x", 1000)
	const sent = 3 * maxLines / 1000
	for i := range sent {
		fmt.Fprintf(l, "line %d %s\n", i, filler)
	}
	require.False(t, l.Flush(time.Millisecond))
	dropped := int(l.Dropped())
	require.Greater(t, dropped, sent/2)
	l.mu.Lock()
	require.LessOrEqual(t, len(l.mu.waiting)+l.mu.writing, maxLines)
	l.mu.Unlock()

	got := make(chan string)
	go func() { text, _ := io.ReadAll(r); got <- string(text) }()
	require.True(t, l.Flush(10*time.Second))
	fmt.Fprintf(l, "line %d \n", sent)
	require.True(t, l.Flush(10*time.Second))
	require.NoError(t, w.Close())
	all := numbers(t, <-got)
	kept := sent - dropped
	for i := range kept {
		require.Equal(t, i, all[i])
	}
	require.Equal(t, []int{-dropped, sent}, all[kept:])
}

// A line of no size that could ever be kept stops no others.
func TestALineThatIsTooLong(t *testing.T) {
	var out bytes.Buffer
	l := NewLines(&out)
	_, _ = l.Write(make([]byte, maxLines+1))
	require.True(t, l.Flush(10*time.Second))
	_, _ = io.WriteString(l, "line 1 \n")
	require.True(t, l.Flush(10*time.Second))
	require.Equal(t, []int{-1, 1}, numbers(t, out.String()))
}

// A full drive takes a part of what it is given, and nothing, and then everything.
type fullWriter struct {
	bytes.Buffer
	full bool
	room int
}

func (f *fullWriter) Write(p []byte) (int, error) {
	if !f.full {
		return f.Buffer.Write(p)
	}
	n, _ := f.Buffer.Write(p[:min(f.room, len(p))])
	if f.room -= n; n < len(p) {
		return n, errors.New("no space left")
	}
	return n, nil
}

func TestLinesThatTheWriterRefuses(t *testing.T) {
	out := &fullWriter{full: true, room: 10}
	l := NewLines(out)
	say := func(n int) {
		fmt.Fprintf(l, "line %d \n", n)
		require.True(t, l.Flush(10*time.Second))
	}
	say(1)
	say(2) // the beginning of it
	say(3)
	out.full = false
	say(4)
	require.EqualValues(t, 2, l.Dropped())
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, []string{"line 1 ", "li", "line 4 "}, lines[:3])
	require.Contains(t, lines[3], `"count":2`)
}

func TestLinesOfManyAtOnce(t *testing.T) {
	var out bytes.Buffer
	l := NewLines(&out)
	log := NewLogger(l, slog.LevelInfo)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				log.Info("said")
			}
		})
	}
	wg.Wait()
	require.True(t, l.Flush(10*time.Second))
	require.Equal(t, 4000, strings.Count(out.String(), `"msg":"said"}`+"\n"))
}

func TestALineAllocatesNothing(t *testing.T) {
	l := NewLines(io.Discard)
	l.mu.idle = make(chan struct{}) // as while others are being written
	l.mu.waiting = make([]byte, 0, 1000)
	line := []byte("line 1 \n")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = l.Write(line)
		l.mu.waiting = l.mu.waiting[:0]
	}))
}
