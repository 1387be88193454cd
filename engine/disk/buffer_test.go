//go:build linux

package disk

import (
	"bytes"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var bufferRuns atomic.Int32

// Buffers are aligned and apart from each other, and what nobody holds any more is given out
// again, its memory meanwhile the system's.
func TestBuffers(t *testing.T) {
	if onHeap {
		t.Skip("in the race detector's builds buffers are on the heap")
	}
	const count = 40
	size := 1<<20 + DirectAlign*int(bufferRuns.Add(1)) // of its own, if it runs again
	class := classOf(size)
	used := func() (n, slabs int) {
		class.mu.Lock()
		defer class.mu.Unlock()
		for _, s := range class.mu.slabs {
			n += s.used
		}
		return n, len(class.mu.slabs)
	}
	var held []*Buffer
	for i := range count {
		b := NewBuffer(size)
		require.Equal(t, size, len(b.Bytes))
		require.Equal(t, size, cap(b.Bytes), "an append ran into the next buffer")
		require.Zero(t, uintptr(unsafe.Pointer(&b.Bytes[0]))%DirectAlign)
		for j := range b.Bytes {
			b.Bytes[j] = byte(i + 1)
		}
		held = append(held, b)
	}
	for i, b := range held {
		require.Equal(t, size, bytes.Count(b.Bytes, []byte{byte(i + 1)}), "buffer %d", i)
	}
	n, slabs := used()
	require.Equal(t, count, n)
	require.Equal(t, 3, slabs)
	require.GreaterOrEqual(t, BufferBytes(), int64(count*size))

	// The first one stays, and what it holds.
	held = slices.Delete(held, 1, count)
	require.Eventually(t, func() bool { runtime.GC(); n, _ = used(); return n == 1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, size, bytes.Count(held[0].Bytes, []byte{1}))
	require.Positive(t, resident(t, class.mu.slabs[0].memory))
	require.Zero(t, resident(t, class.mu.slabs[1].memory))
	require.Zero(t, resident(t, class.mu.slabs[2].memory))

	// A few that stay keep their own pages, and not what lies between them.
	for range count - 1 {
		b := NewBuffer(size)
		clear(b.Bytes)
		held = append(held, b)
	}
	for i := count - 1; i > 0; i-- {
		if i%15 != 0 {
			held = slices.Delete(held, i, i+1)
		}
	}
	require.Eventually(t, func() bool { runtime.GC(); n, _ = used(); return n == len(held) }, 10*time.Second, time.Millisecond)
	in := 0
	for _, s := range class.mu.slabs {
		in += resident(t, s.memory)
	}
	require.LessOrEqual(t, in, len(held)*2*hugePage/4096)

	for len(held) < count {
		held = append(held, NewBuffer(size))
	}
	n, slabs = used()
	require.Equal(t, count, n)
	require.Equal(t, 3, slabs)
	runtime.KeepAlive(held)
}

func resident(t *testing.T, b []byte) (pages int) {
	var in [slabSize / 4096]byte
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&in[0])))
	require.Zero(t, errno)
	for _, p := range in {
		pages += int(p & 1)
	}
	return pages
}

// What no slab has room for is on the heap, as good as any.
func TestBufferOfAnySize(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4097, slabSize - 1, slabSize, slabSize + 1} {
		b := NewBuffer(size)
		require.Equal(t, size, len(b.Bytes))
		if size > 0 {
			require.Zero(t, uintptr(unsafe.Pointer(&b.Bytes[0]))%DirectAlign)
			b.Bytes[size-1] = 1
		}
	}
}
