package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// crashedAhead is a store that crashed with several log segments, and a bulk segment, past
// what its index has on the drive.
func crashedAhead(t *testing.T) (m *disk.Memory, logs []string, bulk string, want map[string][]byte) {
	t.Helper()
	m = disk.NewMemory(1)
	o := small(m)
	o.FlushBytes, o.FlushEvery = 1<<30, 1<<50 // the index stays behind
	s := open(t, o)
	want = map[string][]byte{}
	for round := range 2 {
		for i := range 150 {
			k := fmt.Sprint("k", i)
			want[k] = []byte(strings.Repeat(fmt.Sprint(round), 6000))
			put(t, s, k, "v", want[k])
		}
	}
	var b Batch
	b.Adopt(s.NextSeq(), stage(t, s, backend.BlobID{Group: s.NextSeq()}, make([]byte, 3*chunkData)))
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	require.NoError(t, s.catchUp())
	for _, g := range s.segs.all() {
		switch g.kind {
		case logSegment:
			logs = append(logs, g.name)
		case bulkSegment:
			bulk = g.name
		}
	}
	crashed := m.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	require.Greater(t, len(logs), 4)
	require.NotEmpty(t, bulk)
	return crashed, logs, bulk, want
}

// A log segment that the index does not count yet can be missed all the same: by what the
// next one says of it, or by what is in its file.
func TestLostLogPastTheWatermark(t *testing.T) {
	m, logs, _, want := crashedAhead(t)
	for how, lose := range map[string]func(disk.FS, string){
		"header":     func(f disk.FS, name string) { zero(t, f, name, 0, blockSize) },
		"two blocks": func(f disk.FS, name string) { zero(t, f, name, 0, 2*blockSize) },
		"file":       func(f disk.FS, name string) { require.NoError(t, f.Remove(name)) },
	} {
		for i, name := range logs {
			if how == "file" && i == len(logs)-1 {
				continue // nothing names the last one
			}
			where := fmt.Sprintf("%s of %s, %d of %d", how, name, i, len(logs))
			after := m.Fork(disk.NothingUnsynced, nil)
			lose(after, name)
			for range 2 {
				_, err := Open(small(after))
				require.ErrorIs(t, err, backend.ErrCorrupt, where)
			}
			require.NotEmpty(t, checked(t, after).Damage, where)
			if how != "file" { // nothing was done to it
				_, err := after.Stat(name)
				require.NoError(t, err, where)
			}
			o := small(after)
			o.AcceptLoss = true
			require.NoError(t, Rebuild(ctx, o, nil), where)
			s := open(t, small(after))
			kept := 0
			for k := range want {
				e, found, err := s.Get([]byte(k), nil)
				require.NoError(t, err, where)
				if !found {
					continue
				}
				r, err := s.OpenBody(&e, 0, int64(e.Body.Length))
				require.NoError(t, err, where)
				body, err := io.ReadAll(r)
				require.NoError(t, errors.Join(err, r.Close()), where)
				if bytes.Equal(want[k], body) { // else it is the one before, and that is what was accepted
					kept++
				}
			}
			require.Greater(t, kept, len(want)/2, where)
			require.NoError(t, s.Close(), where)
			if how != "file" {
				_, err := after.Stat(name + lostSuffix)
				require.NoError(t, err, where)
			}
		}
	}
}

// A bulk segment that a replayed record names is missed too, and its file not written to.
func TestLostBulkPastTheWatermark(t *testing.T) {
	m, _, bulk, _ := crashedAhead(t)
	for how, lose := range map[string]func(disk.FS){
		"header": func(f disk.FS) { zero(t, f, bulk, 0, blockSize) },
		"file":   func(f disk.FS) { require.NoError(t, f.Remove(bulk)) },
		"all":    func(f disk.FS) { require.NoError(t, removeAll(f, path.Dir(bulk))) },
	} {
		after := m.Fork(disk.NothingUnsynced, nil)
		lose(after)
		for range 2 {
			_, err := Open(small(after))
			require.ErrorIs(t, err, backend.ErrCorrupt, how)
			require.ErrorContains(t, err, "missing", how)
		}
		o := small(after)
		o.AcceptLoss = true
		require.NoError(t, Rebuild(ctx, o, nil), how)
		require.NoError(t, open(t, small(after)).Close(), how)
		if how == "header" {
			_, err := after.Stat(bulk + lostSuffix)
			require.NoError(t, err)
		}
	}
}

func zero(t *testing.T, fsys disk.FS, name string, off, n int64) {
	t.Helper()
	f, err := fsys.Open(name)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, n), off)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// A drive that does not sync the index's directory when it is opened ends the start, and
// not the process.
func TestIndexDirectoryThatDoesNotSync(t *testing.T) {
	if !child(t) { // an index that panicked leaves goroutines behind
		return
	}
	for n := 1; n < 12; n++ {
		m := disk.NewMemory(1)
		f := disk.NewFaulty(m, 1)
		require.NoError(t, f.AddText(fmt.Sprintf("syncdir index nth %d: EIO", n)))
		s, err := Open(small(f))
		if err == nil {
			_ = s.Close()
		}
		f.Clear()
		require.NoError(t, open(t, small(f)).Close(), n)
	}
	childDone()
}

// A body that a client made to look like a group is none, where a file has lost its header
// between two lives.
func TestClientsBytesAreNoLife(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	s.log.mu.Lock()
	seg, off := s.log.mu.cur, s.log.mu.off
	s.log.mu.Unlock()
	meta := appendPut(nil, []byte("x"), []byte("v"), 1<<50, 0, 0, noBody, backend.BodyRef{})
	h := groupHeader{kind: commitGroup, ordinal: seg.ordinal, offset: uint32(off + blockSize), metaLen: uint32(len(meta)), metaCRC: crc(meta), count: 1, mark: 7}
	body := make([]byte, 3*blockSize)
	h.encode(body[blockSize-groupHeaderSize:])
	copy(body[blockSize:], meta)
	put(t, s, "forged", "v", body)
	head := make([]byte, groupHeaderSize)
	_, err := seg.file.ReadAt(head, off+blockSize)
	require.NoError(t, err)
	_, err = decodeGroupHeader(head)
	require.NoError(t, err, "it looks like one")
	crashed := m.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	f, err := crashed.Open(seg.name)
	require.NoError(t, err)
	l, err := findLife(f, seg.size)
	require.NoError(t, errors.Join(err, f.Close()))
	require.True(t, l.found)
	require.Less(t, l.seq, uint64(1<<50))
}
