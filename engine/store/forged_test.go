package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// TestForgedGroup: a client's bodies hold what looks like groups of segments to come. When
// the file with them is used again, and the log ends before one of them, it is no group.
func TestForgedGroup(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	forge := func(ordinal uint64, offset int64) []byte {
		meta := appendPut(nil, []byte("forged"), []byte("by a client"), 1<<40, 0, 0, noBody, backend.BodyRef{})
		h := groupHeader{kind: commitGroup, ordinal: ordinal, offset: uint32(offset), metaLen: uint32(len(meta)), metaCRC: crc(meta), count: 1}
		b := make([]byte, blockSize)
		h.encode(b)
		copy(b[groupHeaderSize:], meta)
		return b
	}
	// next is where behind at a block has all of a group of g but for the mark.
	next := func(g *segment, at int64) int64 {
		head := make([]byte, groupHeaderSize)
		for at += blockSize; at < g.size; at += blockSize {
			_, err := g.file.ReadAt(head, at)
			require.NoError(t, err)
			if h, err := decodeGroupHeader(head); err == nil && h.ordinal == g.ordinal && int64(h.offset) == at {
				return at
			}
		}
		return 0
	}
	end := func() (*segment, int64) {
		s.log.mu.Lock()
		defer s.log.mu.Unlock()
		return s.log.mu.cur, s.log.mu.off
	}
	for i := uint64(0); ; i++ {
		require.Less(t, i, uint64(1000))
		cur, at := end()
		if forged := next(cur, at); forged > 0 {
			for at < forged {
				put(t, s, "small", "v", []byte("x"))
				_, at = end()
			}
			require.Equal(t, forged, at, "the log ends right before it")
			break
		}
		// The body of a lone put lies 64 bytes behind a block's begin.
		body := make([]byte, blockSize-groupHeaderSize)
		if i%9 == 4 {
			for k := range int64(6) {
				body = append(body, forge(cur.ordinal+3+i%8+uint64(k), at+blockSize+k*blockSize)...)
			}
		}
		put(t, s, "body", "v", body)
		if i%40 == 39 {
			s.catchUp()
			require.NoError(t, s.Compact(ctx))
		}
	}
	for _, fsys := range []disk.FS{m.Fork(disk.NothingUnsynced, nil), m} { // after a crash, and a clean close
		if fsys == m {
			require.NoError(t, s.Close())
		}
		s := open(t, small(fsys))
		_, found, err := s.Get([]byte("forged"), nil)
		require.NoError(t, err)
		require.False(t, found)
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, fsys).Damage)
	}
}

// A build from before there were marks mends a half header without one.
func TestAHeaderMendedByAnOlderBuild(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	for range 60 {
		put(t, s, "k", "v", make([]byte, 16_000))
	}
	put(t, s, "x", "v", []byte("x"))
	g := s.log.mu.cur
	require.NoError(t, s.Close())
	f, err := m.Open(g.name)
	require.NoError(t, err)
	h := segmentHeader{kind: g.kind, storeID: s.id, ordinal: g.ordinal, prev: g.prev, size: g.size} // no mark
	_, err = f.WriteAt(h.encode()[:headerSize], 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, removeAll(m, indexDir)) // to read the log again
	s = open(t, small(m))
	_, found, err := s.Get([]byte("x"), nil)
	require.NoError(t, err)
	require.True(t, found)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}
