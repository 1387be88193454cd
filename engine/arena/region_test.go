//go:build linux

package arena

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMap(t *testing.T) {
	const size = 8<<20 + 5
	r, err := Map(size, Options{Largest: Transparent})
	require.NoError(t, err)
	b := r.Bytes()
	require.Len(t, b, 10<<20)
	require.Equal(t, len(b), cap(b))
	require.Zero(t, address(b)%HugePage)
	require.Equal(t, make([]byte, len(b)), b)
	b[0], b[len(b)-1] = 1, 2
	require.Equal(t, "transparent", r.Kind().String(), "as /sys/kernel/mm/transparent_hugepage/enabled has it: %s", thp(t))
	require.Equal(t, int64(len(b)), r.HugeBytes())
	require.NoError(t, r.Release())
	require.Nil(t, r.Bytes())
	require.ErrorContains(t, r.Release(), "released before")
}

func thp(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || strings.Contains(string(text), "[never]") {
		t.Skip("SKIPPED: this kernel makes no transparent huge pages")
	}
	return string(text)
}

// What comes in behind requests ends with its context, in a rest too.
func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	pause(ctx, time.Hour)
	require.Error(t, ctx.Err())
}

func TestPopulateLeavesWhatIsThere(t *testing.T) {
	t.Run("at once", func(t *testing.T) { populateLeavesWhatIsThere(t, (*Region).Populate) })
	t.Run("behind requests", func(t *testing.T) {
		populateLeavesWhatIsThere(t, func(r *Region, ctx context.Context) error {
			return r.PopulateBehind(ctx, 0, int64(len(r.Bytes())))
		})
	})
}

// A kernel before 5.14 can't be asked, and memory that is touched for that is in use.
func TestTouchedMemoryKeepsWhatItHolds(t *testing.T) {
	r, err := Map(2*HugePage, Options{Lazy: true, Largest: Plain})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Release()) }()
	held := r.Bytes()[:HugePage]
	for i := range held {
		held[i] = 0xAA
	}
	stop := writeMeanwhile(&held[0])
	asked := 0
	for range 100 {
		require.NoError(t, bringBy(r.Bytes(), func([]byte) error {
			if asked++; asked%2 == 1 {
				return unix.EINTR
			}
			return unix.EINVAL
		}))
	}
	stop()
	require.Equal(t, HugePage-1, bytes.Count(held[1:], []byte{0xAA}))
	require.NotContains(t, residence(t, r.Bytes()), byte(0), "all of it is in memory")
	require.ErrorIs(t, bringBy(r.Bytes(), func([]byte) error { return unix.ENOMEM }), unix.ENOMEM)
}

// writeMeanwhile uses a byte until it is stopped.
func writeMeanwhile(b *byte) (stop func()) {
	stopped := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := byte(1); ; i++ {
			select {
			case <-stopped:
				return
			default:
				*b = i
				if *b != i {
					panic("a write was lost")
				}
			}
		}
	})
	return func() {
		close(stopped)
		writer.Wait()
	}
}

func residence(t *testing.T, b []byte) []byte {
	t.Helper()
	resident := make([]byte, len(b)/os.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&resident[0])))
	require.Zero(t, errno)
	return resident
}

func populateLeavesWhatIsThere(t *testing.T, populate func(*Region, context.Context) error) {
	r, err := Map(8*HugePage, Options{Lazy: true, Largest: Transparent})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Release()) }()
	b := r.Bytes()
	b[3*HugePage+5] = 7
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, populate(r, ctx), context.Canceled)
	stop := writeMeanwhile(&b[7*HugePage])
	require.NoError(t, populate(r, t.Context()))
	stop()
	require.EqualValues(t, 7, b[3*HugePage+5])
	require.NotContains(t, residence(t, b), byte(0), "all of it is in memory")
}
