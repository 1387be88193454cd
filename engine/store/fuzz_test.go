package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// someRecords are seeds: one of each kind.
func someRecords() []byte {
	b := appendPut(nil, []byte("key"), []byte("value"), 7, 3, -5, noBody, backend.BodyRef{})
	b = appendPut(b, []byte{blobPrefix, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}, blob{size: 5, extents: []extent{{3, 8192, 5}}}.encode(), 1<<40, 0, 0, noBody, backend.BodyRef{})
	b = appendPut(b, []byte("inline"), nil, 8, 1, 4, inlineBody, backend.BodyRef{Length: 4, CRC: crc([]byte("body"))})
	b = appendPut(b, []byte("kept"), []byte{0}, 9, 1, 4, keptBody, backend.BodyRef{Segment: 2, Offset: 4160, Length: 4, CRC: 1})
	return appendDelete(b, []byte("gone"), 10, 4)
}

// What decodes, encodes to bytes that decode to the same; nothing is read past the end.
func FuzzRecords(f *testing.F) {
	f.Add(someRecords())
	f.Add([]byte{putRecord, 1, 0})
	f.Add([]byte{putRecord, 1, 1, 'k', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoder{b: b}
		var r record
		for begin := 0; d.next(&r); begin = d.off {
			require.Greater(t, d.off, begin)
			require.LessOrEqual(t, d.off, len(b))
			require.NotEmpty(t, r.key)
			var again []byte
			if r.delete {
				again = appendDelete(nil, r.key, r.seq, r.guard)
			} else {
				again = appendPut(nil, r.key, r.value, r.seq, r.space, r.weight, r.body, r.ref)
			}
			d2 := decoder{b: again}
			var r2 record
			require.True(t, d2.next(&r2))
			require.Equal(t, len(again), d2.off)
			if r.body == inlineBody {
				r2.ref.Offset = r.ref.Offset // counts from the group's first body
			}
			if r.delete {
				r2.body = r.body // no meaning
			}
			require.Equal(t, r.seq, r2.seq)
			require.Equal(t, r.ref, r2.ref)
			require.True(t, bytes.Equal(r.key, r2.key) && bytes.Equal(r.value, r2.value))
			require.Equal(t, [4]any{r.delete, r.guard, r.space, r.weight}, [4]any{r2.delete, r2.guard, r2.space, r2.weight})
		}
		require.True(t, d.bad || d.off == len(b))
	})
}

// segmentOf is a segment of 64 KiB over bytes.
func segmentOf(t testing.TB, b []byte) *segment {
	t.Helper()
	m := disk.NewMemory(1)
	f, err := m.Create("s")
	require.NoError(t, err)
	require.NoError(t, f.Preallocate(0, 64<<10))
	if len(b) > 60<<10 {
		b = b[:60<<10]
	}
	_, err = f.WriteAt(b, blockSize)
	require.NoError(t, err)
	return &segment{ordinal: 5, kind: logSegment, size: 64 << 10, file: f}
}

// sealGroup makes a group's checksums right, so that what is behind them is reached.
func sealGroup(b []byte, ordinal uint64, off, bodyLen, metaLen, count uint32) {
	h := groupHeader{kind: commitGroup, ordinal: ordinal, offset: off, bodyLen: bodyLen, metaLen: metaLen, count: count}
	if end := uint64(groupHeaderSize) + uint64(bodyLen) + uint64(metaLen); end <= uint64(len(b)) {
		h.metaCRC = crc(b[groupHeaderSize+int(bodyLen) : end])
	}
	h.encode(b)
}

// Whatever a segment holds, reading it ends, in bounds, and gives records only
// where their group's checksum is right.
func FuzzGroups(f *testing.F) {
	rec := someRecords()
	whole := append(make([]byte, groupHeaderSize), append([]byte("body"), rec...)...)
	f.Add(whole, uint32(4), uint32(len(rec)), uint32(5), uint16(0))
	f.Add(whole, uint32(0), uint32(0), uint32(0), uint16(7))
	f.Add(whole, ^uint32(0), ^uint32(0), uint32(1), uint16(20))
	f.Fuzz(func(t *testing.T, b []byte, bodyLen, metaLen, count uint32, flipAt uint16) {
		if len(b) < groupHeaderSize {
			b = append(b, make([]byte, groupHeaderSize-len(b))...)
		}
		sealGroup(b, 5, blockSize, bodyLen, metaLen, count)
		if flipAt > 0 && int(flipAt) < len(b) {
			b[flipAt] ^= 1
		}
		g := segmentOf(t, b)
		for _, bodies := range []bool{false, true} {
			h, raw, bad, err := readGroup(g, blockSize, bodies)
			if err != nil {
				require.ErrorIs(t, err, errInvalid)
				continue
			}
			require.LessOrEqual(t, blockSize+h.size(), g.size)
			n := uint32(0)
			d := h.records(raw)
			var r record
			for d.next(&r) {
				n++
				if r.body == inlineBody {
					require.LessOrEqual(t, uint64(r.ref.Offset)+uint64(r.ref.Length), uint64(h.bodyLen))
				}
			}
			require.Equal(t, h.count, n)
			require.LessOrEqual(t, bad, int(n))
		}
		_, err := scanRows(g, false)
		require.NoError(t, err)
		_, _, err = laterGroup(g, 0)
		require.NoError(t, err)
	})
}

// A table that passes its checksums may still say anything.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 16, 0, 0, 64, 16, 0, 0, 10, 0, 0, 0x80}, uint32(1), false)
	f.Add([]byte{1, 2, 3}, ^uint32(0), false)
	f.Add(make([]byte, 48), uint32(4), true)
	f.Fuzz(func(t *testing.T, b []byte, n uint32, spoil bool) {
		g := segmentOf(t, nil)
		rows := make([]byte, min(int64(n), 2000)*12)
		copy(rows, b)
		foot := make([]byte, tableFooter)
		le := binary.LittleEndian
		le.PutUint32(foot, tableMagic)
		foot[4] = formatVersion
		le.PutUint64(foot[8:], g.ordinal)
		le.PutUint32(foot[16:], n)
		le.PutUint32(foot[20:], crc(rows))
		le.PutUint32(foot[28:], crc(foot[:28]))
		if spoil {
			foot[len(b)%tableFooter] ^= 1
		}
		_, err := g.file.WriteAt(foot, g.size-tableFooter)
		require.NoError(t, err)
		if room := tableRoom(int(n)); room < g.size {
			_, err = g.file.WriteAt(rows, g.size-room)
			require.NoError(t, err)
		}
		got, err := readTable(g)
		if err != nil {
			require.ErrorIs(t, err, errInvalid)
			return
		}
		require.False(t, spoil)
		require.Len(t, got, int(n))
		for _, row := range got {
			if _, _, _, err := readGroup(g, int64(row.offset), true); err != nil {
				require.ErrorIs(t, err, errInvalid)
			}
		}
	})
}

func FuzzIndexEntry(f *testing.F) {
	for _, x := range []indexEntry{
		{seq: 1, rec: recordRef{2, 4096, 20}, value: []byte("v")},
		{seq: 1 << 50, space: 3, weight: -1, rec: recordRef{2, 8192, 20}, body: backend.BodyRef{Segment: 2, Offset: 5, Length: 6, CRC: 7}},
		{seq: 1, rec: recordRef{2, 4096, 20}, body: backend.BodyRef{Segment: 9, Offset: 5, Length: 6, CRC: 7}},
	} {
		f.Add(x.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, _, err := decodeIndexEntry(b)
		if err != nil {
			require.ErrorIs(t, err, errInvalid)
			return
		}
		y, _, err := decodeIndexEntry(x.append(nil))
		require.NoError(t, err)
		if x.space == 0 { // counted in no space
			x.weight = 0
		}
		if x.body.Segment == 0 {
			x.body = backend.BodyRef{}
		}
		require.True(t, bytes.Equal(x.value, y.value))
		x.value, y.value = nil, nil
		require.Equal(t, x, y)
	})
}

func FuzzBlobEntry(f *testing.F) {
	f.Add(blob{size: 3, extents: []extent{{1, 4096, 3}}}.encode())
	f.Add(blob{size: 2 << 20, extents: []extent{{1, 4096, 1 << 20}, {2, 1 << 20, 1 << 20}}}.encode())
	f.Add(blob{}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := decodeBlob(b)
		if err != nil {
			require.ErrorIs(t, err, errInvalid)
			return
		}
		var sum int64
		for _, e := range x.extents {
			require.Positive(t, e.length)
			require.GreaterOrEqual(t, e.span(), e.length)
			sum += e.length
		}
		require.Equal(t, x.size, sum)
		y, err := decodeBlob(x.encode())
		require.NoError(t, err)
		require.Equal(t, x, y)
	})
}

func FuzzChunkHeader(f *testing.F) {
	b := make([]byte, blockSize)
	(&chunkHeader{ordinal: 1, id: backend.BlobID{Group: 2, Part: 3}, index: 4, length: 5}).encode(b)
	f.Add(b[:128], true)
	f.Add(b[:20], false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= 128 {
			binary.LittleEndian.PutUint32(b[124:], crc(b[:124]))
		}
		h, err := decodeChunkHeader(b)
		if err != nil {
			require.ErrorIs(t, err, errInvalid)
			return
		}
		require.LessOrEqual(t, h.length, uint32(chunkData))
		out := make([]byte, blockSize)
		h.encode(out)
		again, err := decodeChunkHeader(out)
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}

func FuzzSegmentHeader(f *testing.F) {
	h := segmentHeader{kind: logSegment, storeID: [16]byte{1}, ordinal: 2, prev: 3, size: 4, mark: 5}
	f.Add(h.encode(), true)
	f.Add(h.encode()[:100], false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= headerSize {
			binary.LittleEndian.PutUint32(b[60:], crc(b[:60]))
		}
		h, half, err := decodeHeaderBlock(b)
		if err != nil {
			require.True(t, errors.Is(err, errInvalid) || errors.Is(err, ErrVersion))
			return
		}
		again, half2, err := decodeHeaderBlock(h.encode())
		require.NoError(t, err)
		require.Equal(t, h, again)
		require.False(t, half2)
		_ = half
	})
}

// The small values of the index, and the file of the ordinals.
func FuzzSmallValues(f *testing.F) {
	f.Add(watermark{position{1, 2}, 3, 4}.encode())
	f.Add(segmentStat{1, 2, 3, 4}.encode())
	f.Add(epoch{5, 7, 9}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if w, err := decodeWatermark(b); err == nil {
			again, err := decodeWatermark(w.encode())
			require.NoError(t, err)
			require.Equal(t, w, again)
		}
		if st, err := decodeSegmentStat(b); err == nil {
			again, err := decodeSegmentStat(st.encode())
			require.NoError(t, err)
			require.Equal(t, st, again)
		}
		if e, err := decodeEpoch(b); err == nil {
			require.Equal(t, b[:4], e.encode()[:4])
			again, err := decodeEpoch(e.encode())
			require.NoError(t, err)
			require.Equal(t, e, again)
		}
	})
}

// A store with arbitrary bytes anywhere in its files opens or refuses; it never
// panics, and what it reads is what was written.
func FuzzOpen(f *testing.F) {
	golden := goldenDrive(f)
	var names []string
	for _, dir := range []string{"log", "bulk", indexDir, "."} {
		list, err := golden.List(dir)
		require.NoError(f, err)
		for _, n := range list {
			if info, err := golden.Stat(dir + "/" + n); err == nil && !info.Dir && info.Size > 0 {
				names = append(names, dir+"/"+n)
			}
		}
	}
	for i := range names {
		f.Add(uint8(i), uint32(5), []byte{1})
		f.Add(uint8(i), uint32(4096+20), []byte("garbage"))
	}
	want := goldenContents(f)
	f.Fuzz(func(t *testing.T, file uint8, off uint32, b []byte) {
		fsys := golden.Fork(disk.NothingUnsynced, nil)
		name := names[int(file)%len(names)]
		info, err := fsys.Stat(name)
		require.NoError(t, err)
		h, err := fsys.Open(name)
		require.NoError(t, err)
		_, err = h.WriteAt(b, int64(off)%info.Size)
		require.NoError(t, err)
		require.NoError(t, errors.Join(h.Sync(), h.Close()))
		s, err := Open(goldenOptions(fsys))
		if err != nil {
			return
		}
		for quoted := range want.Entries {
			k, err := strconv.Unquote(quoted)
			require.NoError(t, err)
			e, found, err := s.Get([]byte(k), nil)
			if err != nil || !found || e.Body.Length == 0 {
				continue
			}
			r, err := s.OpenBody(&e, 0, int64(e.Body.Length))
			if err != nil {
				continue
			}
			got, err := io.ReadAll(r)
			require.NoError(t, errors.Join(err, r.Close()))
			require.Equal(t, want.Entries[quoted].Body, digest(got), k)
		}
		_ = s.Close() // the damage may be its error
	})
}
