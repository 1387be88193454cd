package store

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// TestKeptBodyAfterRebuild: metadata is written over an object while compaction is under
// way, in a log segment that was begun after the cold one. Compaction moves record and
// body to a segment of a lower ordinal than the record's in the log, which then names a
// place that the body has left; who reads the log again must not prefer it.
func TestKeptBodyAfterRebuild(t *testing.T) {
	for name, after := range map[string]int{"in the open segment": 2, "in a sealed segment": 40} {
		t.Run(name, func(t *testing.T) { keptBodyAfterRebuild(t, after) })
	}
}

func keptBodyAfterRebuild(t *testing.T, after int) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	want := bytes.Repeat([]byte{2}, 9000)
	garbage := func(i int) { put(t, s, fmt.Sprint("garbage", i%3), "v", make([]byte, 16_000)) }
	put(t, s, "y", "v", bytes.Repeat([]byte{1}, 9000))
	for i := range 3 { // compaction comes to y with one read, and to x with another
		garbage(i)
	}
	put(t, s, "x", "v1", want)
	x, _, err := s.Get([]byte("x"), nil)
	require.NoError(t, err)
	for i := range 60 {
		garbage(i)
	}
	s.catchUp()
	victim := s.segs.get(x.Body.Segment)
	group := int64(x.Body.Offset) &^ (blockSize - 1)
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.SetHook(func(op disk.Op) error {
		if op.Kind == disk.OpRead && op.Name == victim.name && op.Off <= group && group < op.Off+op.Len {
			once.Do(func() { close(reached); <-goOn })
		}
		return nil
	})
	done := make(chan error)
	go func() { done <- s.Compact(ctx) }()
	<-reached
	cold := s.segs.lastOrdinal()
	require.Equal(t, coldSegment, s.segs.get(cold).kind)
	for i := 0; s.segs.lastOrdinal() == cold; i++ { // the log turns
		garbage(i)
	}
	s.Begin()
	l, err := s.Latest([]byte("x"))
	require.NoError(t, err)
	var b Batch
	b.Put(s.NextSeq(), &backend.Put{Key: []byte("x"), Value: []byte("v2"), Space: 7, Weight: 9000, Keep: l.Body}, false)
	tk, err := s.Append(&b)
	require.NoError(t, err)
	s.End()
	require.NoError(t, tk.Wait(ctx))
	for i := range after {
		garbage(i)
	}
	s.catchUp()
	close(goOn)
	require.NoError(t, <-done)
	m.SetHook(nil)
	require.Nil(t, s.segs.get(victim.ordinal), "the victim was recycled")
	verify := func() {
		t.Helper()
		e, found, err := s.Get([]byte("x"), nil)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "v2", string(e.Value))
		got, ok := body(t, s, "x")
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	verify()
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
	require.NoError(t, removeAll(m, indexDir))
	for range 2 {
		s = open(t, small(m))
		verify()
		require.NoError(t, s.Compact(ctx))
		verify()
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage)
	}
}

// TestBlobAfterRebuild: a round of compaction that empties nothing is followed by one that
// moves a blob, whose record is in a log segment begun since. The blob's new record must
// not go to a segment below that one.
func TestBlobAfterRebuild(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	var victims []*segment
	var pads []string
	for v := range 2 {
		first := s.segs.lastOrdinal()
		put(t, s, fmt.Sprint("from", v), "v", make([]byte, 100))
		put(t, s, fmt.Sprint("alive", v), "v", make([]byte, 100))
		l, err := s.Latest([]byte(fmt.Sprint("from", v)))
		require.NoError(t, err)
		victims = append(victims, s.segs.get(l.Body.Segment))
		for i := 0; s.segs.lastOrdinal() == first; i++ {
			k := fmt.Sprint("pad", v, "-", i)
			put(t, s, k, "v", make([]byte, 16_000))
			pads = append(pads, k)
		}
	}
	for v := range 2 {
		l, err := s.Latest([]byte(fmt.Sprint("from", v)))
		require.NoError(t, err)
		var b Batch
		b.Put(s.NextSeq(), &backend.Put{Key: fmt.Append(nil, "to", v), Value: []byte("v"), Keep: l.Body}, false)
		b.Delete(s.NextSeq(), fmt.Append(nil, "from", v), s.Guard())
		tk, err := s.Append(&b)
		require.NoError(t, err)
		require.NoError(t, tk.Wait(ctx))
	}
	for _, k := range pads {
		require.NoError(t, tryDelete(s, k))
	}
	add := func() (backend.BlobID, []byte) { return addBlob(t, s, 1_200_000) }
	g1, _ := add()
	require.NoError(t, s.catchUp())
	bulk := s.bulk.lanes[0].seg

	reached, goOn := make(chan struct{}), make(chan struct{})
	seen := map[string]bool{}
	var mu sync.Mutex // of seen
	m.SetHook(func(op disk.Op) error {
		if op.Kind != disk.OpRead || op.Name != victims[0].name && op.Name != victims[1].name {
			return nil
		}
		mu.Lock()
		before := len(seen)
		seen[op.Name] = true
		both := before == 1 && len(seen) == 2
		mu.Unlock()
		if both {
			close(reached)
			<-goOn
		}
		return nil
	})
	done := make(chan error)
	go func() { done <- s.Compact(ctx) }()
	<-reached
	cold := s.segs.lastOrdinal()
	require.Equal(t, coldSegment, s.segs.get(cold).kind)
	for i := 0; s.segs.lastOrdinal() == cold; i++ {
		put(t, s, fmt.Sprint("live", i), "v", make([]byte, 16_000))
	}
	x, data := add()
	g3, _ := add()
	add() // begins another bulk segment
	require.NotEqual(t, bulk, s.bulk.lanes[0].seg)
	var b Batch
	b.DropBlob(s.NextSeq(), g1, s.Guard())
	b.DropBlob(s.NextSeq(), g3, s.Guard())
	tk, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, tk.Wait(ctx))
	put(t, s, "after", "v", nil)
	require.NoError(t, s.catchUp())
	close(goOn)
	require.NoError(t, <-done)
	m.SetHook(nil)
	require.Nil(t, s.segs.get(bulk.ordinal), "recycled")
	whole := func() ([]byte, error) {
		r, err := s.OpenBlob(x, 0, int64(len(data)))
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	got, err := whole()
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
	require.NoError(t, removeAll(m, indexDir))
	s = open(t, small(m))
	got, err = whole()
	require.NoError(t, err, "after a rebuild")
	require.Equal(t, data, got)
	require.NoError(t, s.Close())
}
