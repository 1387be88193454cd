package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// lanes begins a body in each lane at the same time, and finishes them.
func lanes(t testing.TB, s *Store, size int) (ids []backend.BlobID, bodies [][]byte, err error) {
	t.Helper()
	var writers []*BlobWriter
	for range bulkLanes {
		id := backend.BlobID{Group: s.NextSeq()}
		w, err := s.Stage(ctx, id, int64(size))
		if err != nil {
			return nil, nil, err
		}
		defer w.Abort()
		ids, bodies, writers = append(ids, id), append(bodies, blobBytes(id, size)), append(writers, w)
	}
	for i, w := range writers {
		if _, err := w.Write(bodies[i]); err != nil {
			return nil, nil, err
		}
	}
	for i, w := range writers {
		st, err := w.Finish()
		if err == nil {
			if err = tryAdopt(s, st.(*Staged)); err != nil {
				st.Discard()
			}
		}
		if err != nil {
			if i > 0 {
				drop(t, s, ids[:i]) // all of them or none
			}
			return nil, nil, err
		}
	}
	return ids, bodies, nil
}

func drop(t testing.TB, s *Store, ids []backend.BlobID) {
	t.Helper()
	var b Batch
	b.SetUrgent()
	for _, id := range ids {
		b.DropBlob(s.NextSeq(), id, s.Guard())
	}
	ticket, err := s.Append(&b)
	require.NoError(t, err)
	require.NoError(t, ticket.Wait(ctx))
}

// TestLanesShareWhatThereIs: where there is room for one bulk file, bodies that come together
// go into that one, and the store is not full.
func TestLanesShareWhatThereIs(t *testing.T) {
	m := disk.NewMemory(1)
	s := open(t, small(m))
	leave(t, m, s.leastFree()+s.opt.SegmentSize+s.opt.BulkSegmentSize)
	s.checkSpace()
	ids, bodies, err := lanes(t, s, 700_000)
	require.NoError(t, err)
	s.checkSpace()
	require.False(t, s.refusing.Load(), "large bodies leave small ones their room")
	require.NoError(t, s.catchUp())
	for i, id := range ids {
		require.Equal(t, bodies[i], readBlob(t, s, id, 0, 700_000).Bytes())
	}
	_, _, err = lanes(t, s, 700_000)
	require.ErrorIs(t, err, backend.ErrFull, "that is all there is")
	put(t, s, "small", "v", []byte("body"))
	require.NoError(t, s.Close())
}

// TestEmptyLanesAreGivenUp: files that are open for large bodies, and have next to nothing in
// them, keep no drive full.
func TestEmptyLanesAreGivenUp(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.retry = time.Millisecond
	s := open(t, o)
	ids, bodies, err := lanes(t, s, 700_000)
	require.NoError(t, err)
	drop(t, s, ids[1:])
	require.NoError(t, s.catchUp())
	leave(t, m, s.opt.Reserve-s.ballastSize())
	require.Eventually(t, func() bool {
		freed(t, s)
		return !s.refusing.Load() && roomOf(s, m) > s.leastFree()+2*s.opt.BulkSegmentSize
	}, 10*time.Second, 5*time.Millisecond)
	require.Equal(t, bodies[0], readBlob(t, s, ids[0], 0, 700_000).Bytes())
	addBlob(t, s, 700_000)
	require.NoError(t, s.Close())
	require.Empty(t, checked(t, m).Damage)
}

// TestALargeBodyAfterAFullDrive: what the log's files between lives hold is room for large
// bodies too.
func TestALargeBodyAfterAFullDrive(t *testing.T) {
	for _, capacity := range []int64{9 << 20, 10 << 20, 11 << 20} {
		m := disk.NewMemory(1)
		m.SetCapacity(capacity)
		o := small(m)
		o.SegmentSize, o.retry = 1<<20, time.Millisecond
		s := open(t, o)
		var keys []string
		for i := 0; ; i++ {
			k := fmt.Sprintf("k%06d", i)
			if err := tryPut(s, k, "v", make([]byte, 30_000)); err != nil {
				require.ErrorIs(t, err, backend.ErrFull)
				break
			}
			keys = append(keys, k)
		}
		require.Greater(t, len(keys), 50)
		deleteAll(t, s, keys, 60)
		require.Eventually(t, func() bool {
			freed(t, s)
			return !s.refusing.Load()
		}, 10*time.Second, 5*time.Millisecond)
		var err error
		require.Eventually(t, func() bool {
			freed(t, s)
			_, _, err = lanes(t, s, 300_000) // and not for a moment only
			return !errors.Is(err, backend.ErrFull)
		}, 10*time.Second, 5*time.Millisecond)
		require.NoError(t, err)
		put(t, s, "small", "v", []byte("body"))
		require.NoError(t, s.Close())
		require.Empty(t, checked(t, m).Damage)
	}
}

// TestFullLanesAreGivenUp: a drive that large bodies have filled takes no less when they are
// deleted, though small ones were never refused.
func TestFullLanesAreGivenUp(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.retry = time.Millisecond
	s := open(t, o)
	leave(t, m, s.leastFree()+s.opt.SegmentSize+s.opt.BulkSegmentSize)
	s.checkSpace()
	var all []backend.BlobID
	for {
		ids, _, err := lanes(t, s, 200_000)
		if err != nil {
			require.ErrorIs(t, err, backend.ErrFull)
			break
		}
		all = append(all, ids...)
	}
	require.Greater(t, len(all), 10)
	drop(t, s, all)
	var err error
	require.Eventually(t, func() bool {
		freed(t, s)
		_, _, err = lanes(t, s, 700_000)
		return !errors.Is(err, backend.ErrFull)
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

// TestLanesTakeFilesOneByOne: of bodies that come at the same moment each finds the room that
// the others have left, and deletes theirs afterwards.
func TestLanesTakeFilesOneByOne(t *testing.T) {
	m := disk.NewMemory(1)
	o := small(m)
	o.Reserve, o.SegmentSize, o.BulkSegmentSize = 8<<20, 4<<20, 15<<19 // as by default, a sixteenth
	s := open(t, o)
	leave(t, m, s.leastFree()+s.opt.SegmentSize+s.opt.BulkSegmentSize-s.segs.spareBytes())
	s.checkSpace()
	m.SetHook(func(op disk.Op) error {
		if op.Kind == disk.OpPreallocate && strings.HasPrefix(op.Name, "bulk/") {
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	var writers sync.WaitGroup
	for range bulkLanes {
		id := backend.BlobID{Group: s.NextSeq()}
		w, err := s.Stage(ctx, id, 7<<20)
		require.NoError(t, err)
		writers.Go(func() {
			if _, err := w.Write(blobBytes(id, 7<<20)); err != nil && !errors.Is(err, backend.ErrFull) {
				t.Error(err)
			}
		})
		defer w.Abort()
	}
	writers.Wait()
	m.SetHook(nil)
	require.GreaterOrEqual(t, roomOf(s, m), s.leastFree())
	require.NoError(t, s.Close())
}

// TestTransfersAreBounded: more large bodies at a time than there is memory for are refused, for
// the moment.
func TestTransfersAreBounded(t *testing.T) {
	o := small(disk.NewMemory(1))
	o.TransferBytes = 2 * writerBytes
	s := open(t, o)
	begin := func() (*BlobWriter, error) { return s.Stage(ctx, backend.BlobID{Group: s.NextSeq()}, 700_000) }
	one, err := begin()
	require.NoError(t, err)
	two, err := begin()
	require.NoError(t, err)
	_, err = begin()
	require.ErrorIs(t, err, backend.ErrBusy)
	one.Abort()
	one.Abort()
	three, err := begin()
	require.NoError(t, err)
	_, err = begin()
	require.ErrorIs(t, err, backend.ErrBusy)
	two.Abort()
	three.Abort()
	id, data := addBlob(t, s, 700_000)
	require.Equal(t, data, readBlob(t, s, id, 0, 700_000).Bytes())
	require.NoError(t, s.Close())
}

// Bodies that are taken slowly hold a page each where readers have enough memory already.
func TestSlowReadersAreBounded(t *testing.T) {
	for _, cached := range []bool{false, true} {
		t.Run(fmt.Sprintf("cached %v", cached), func(t *testing.T) {
			bounded := func(o *Options) { o.TransferBytes = 4 * chunkSpan }
			var s *Store
			if cached {
				s, _ = cachedStore(t, bounded)
			} else {
				o := small(disk.NewMemory(1))
				bounded(&o)
				s = open(t, o)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
			}
			id, data := addBlob(t, s, 2_300_001)
			size := int64(len(data))
			var readers []backend.Body
			for i := range int64(6) {
				r, err := s.OpenBlob(id, i*70_000, size-2*i*70_000)
				require.NoError(t, err)
				one := make([]byte, 1)
				_, err = io.ReadFull(r, one)
				require.NoError(t, err)
				require.Equal(t, data[i*70_000], one[0])
				readers = append(readers, r)
			}
			require.LessOrEqual(t, s.transfers.Load(), int64(2*chunkSpan))
			upload, err := s.Stage(ctx, backend.BlobID{Group: s.NextSeq()}, size) // has the other half
			require.NoError(t, err)
			for i, r := range slices.Backward(readers) {
				from := int64(i) * 70_000
				var got bytes.Buffer
				_, err := r.(io.WriterTo).WriteTo(&got)
				require.NoError(t, err)
				require.Equal(t, data[from+1:size-from], got.Bytes())
				require.NoError(t, r.Close())
			}
			upload.Abort()
			require.Zero(t, s.transfers.Load())
		})
	}
}
