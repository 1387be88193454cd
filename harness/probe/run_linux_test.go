package probe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/arena"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A chase must visit every line once before it comes back, or its working set
// is smaller than the profile says.
func TestRingsAreWhole(t *testing.T) {
	for _, width := range []int{1, 2, 5, 8, 13, 16} {
		ring := make([]line, 1<<width)
		link(ring)
		at, steps := uint64(0), 0
		for {
			at = ring[at].next
			steps++
			if at == 0 || steps > len(ring) {
				break
			}
		}
		require.Equal(t, len(ring), steps, "width %d", width)
	}
}

// Most steps must leave the page, or pages would not matter.
func TestRingsLeaveThePage(t *testing.T) {
	ring := make([]line, 1<<16)
	link(ring)
	same := 0
	for i := range ring {
		if uint64(i)/64 == ring[i].next/64 {
			same++
		}
	}
	require.Less(t, same, len(ring)/40)
}

func TestLatencyOnPlainPages(t *testing.T) {
	l, err := measureLatency(4<<20, arena.Plain, 2, 3*time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, "plain", l.Pages)
	require.EqualValues(t, 4<<20, l.WorkingSetBytes)
	require.Positive(t, l.LoadNS)
}

// The whole probe, on samples of milliseconds: every part is there, the profile
// is valid and opens, and nothing is left in the directory.
func TestProbe(t *testing.T) {
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, peer) }()

	dir := t.TempDir()
	var progress bytes.Buffer
	p, err := Run(t.Context(), Options{Dir: dir, Quick: true, Name: "here", Peer: peer.Addr().String(), Lines: &progress, slice: 6 * time.Millisecond, streams: 8 << 20})
	require.NoError(t, err)
	stop()
	require.NoError(t, <-served)

	var text bytes.Buffer
	require.NoError(t, p.Encode(&text))
	back, err := Decode(text.Bytes())
	require.NoError(t, err, text.String())
	require.Equal(t, "here", back.Name)
	require.Len(t, back.Network, 2, back.Warnings)
	require.Equal(t, "peer", back.Network[1].Path)
	require.Len(t, back.Disk.Random, 6, back.Warnings)
	require.Len(t, back.Disk.RandomWrite, 4, back.Warnings)
	for i, w := range back.Disk.RandomWrite {
		require.Equal(t, depths[i], w.QueueDepth)
		require.Positive(t, w.PerS)
		require.GreaterOrEqual(t, w.P99US, w.P50US)
	}
	if back.Disk.Sequential[0].Direct {
		require.Len(t, back.Disk.Queued, 8, back.Warnings)
	} else {
		require.Contains(t, back.Warnings[len(back.Warnings)-1], "queue depths")
	}
	for _, q := range back.Disk.Queued {
		require.Positive(t, q.MBPerS)
		require.Equal(t, block, q.BlockBytes)
	}
	require.GreaterOrEqual(t, len(back.Disk.Fdatasync), 6)
	require.Positive(t, back.SyncP50US())
	require.Len(t, back.Hashes, 10)
	require.Len(t, back.Erasure, 4)
	require.NotEmpty(t, back.Memory.Bandwidth)
	require.NotZero(t, back.Noise.Spins)
	require.Contains(t, progress.String(), "drive")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A depth is as many operations under way at once, on however few CPUs: here none
// ends before all have begun.
func TestAQueueIsAsDeepAsItSays(t *testing.T) {
	processors := runtime.GOMAXPROCS(0)
	const depth = 32
	var all sync.WaitGroup
	all.Add(depth)
	var mu sync.Mutex
	buffers := map[*byte]bool{}
	h, _, err := queue(depth, unit, 0, func(b []byte, _ *rand.Rand) error {
		mu.Lock()
		buffers[&b[0]] = true
		mu.Unlock()
		all.Done()
		all.Wait()
		if n := runtime.GOMAXPROCS(0); n <= depth {
			return fmt.Errorf("%d callers on %d processors of Go", depth, n)
		}
		return nil
	})
	require.NoError(t, err)
	require.Len(t, buffers, depth, "each caller has a buffer of its own")
	require.EqualValues(t, depth, h.Count(), "each does one operation, however short the time")
	require.Equal(t, processors, runtime.GOMAXPROCS(0), "it is set back")

	_, _, err = queue(2, unit, time.Second, func([]byte, *rand.Rand) error { return io.ErrUnexpectedEOF })
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestRandomWritesStayWithinTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, make([]byte, 2*block), 0o600))
	w, err := randomWrites(name, 2*block, 4, 5*time.Millisecond)
	require.NoError(t, err)
	require.Positive(t, w.PerS)
	require.Positive(t, w.P50US)
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.EqualValues(t, 2*block, info.Size())
	written, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NotEqual(t, make([]byte, 2*block), written)
	_, err = randomWrites(filepath.Join(t.TempDir(), "none"), block, 1, time.Millisecond)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestProbeSaysWhatItCannotMeasure(t *testing.T) {
	_, err := Run(t.Context(), Options{Dir: "/does/not/exist"})
	require.ErrorIs(t, err, os.ErrNotExist)
	ended, stop := context.WithCancel(t.Context())
	stop()
	_, err = Run(ended, Options{Dir: t.TempDir()})
	require.ErrorIs(t, err, context.Canceled)

	r := &run{Options: Options{slice: time.Millisecond}, profile: &Profile{}}
	require.NoError(t, r.sections(t.Context(), []section{{"part", func() error { return io.ErrUnexpectedEOF }}}))
	require.Equal(t, []string{"part: unexpected EOF"}, r.profile.Warnings)
	require.Error(t, r.network("peer", "127.0.0.1:1"))
}

// Whoever does not speak the protocol is hung up on.
func TestServeRefusesStrangers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, conn.Close())
	stop()
	require.NoError(t, <-served)
}
