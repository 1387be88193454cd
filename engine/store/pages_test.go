package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/disk"
)

// addBlob makes a blob whose every byte follows from its ID.
func addBlob(t testing.TB, s *Store, size int) (backend.BlobID, []byte) {
	t.Helper()
	id := backend.BlobID{Group: s.NextSeq()}
	data := blobBytes(id, size)
	require.NoError(t, tryAdopt(s, stage(t, s, id, data)))
	return id, data
}

func tryAdopt(s *Store, st *Staged) error {
	var b Batch
	b.Adopt(s.NextSeq(), st)
	tk, err := s.Append(&b)
	if err != nil {
		return err
	}
	return tk.Wait(ctx)
}

func blobBytes(id backend.BlobID, size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(id.Group), byte(id.Group >> 8), byte(id.Part)}).Read(data)
	return data
}

// A vectors is a writer that takes vectors, and counts them.
type vectors struct {
	bytes.Buffer
	vectors int
	most    int
	during  func() // what happens while it has one
}

func (v *vectors) WriteVector(pieces [][]byte) (sum int64, err error) {
	v.vectors++
	v.most = max(v.most, len(pieces))
	if v.during != nil {
		v.during()
	}
	for _, p := range pieces {
		n, _ := v.Write(p)
		sum += int64(n)
	}
	return sum, nil
}

func readBlob(t testing.TB, s *Store, id backend.BlobID, off, n int64) *vectors {
	t.Helper()
	var v vectors
	require.NoError(t, tryReadBlob(s, id, off, n, &v))
	return &v
}

func tryReadBlob(s *Store, id backend.BlobID, off, n int64, w io.Writer) error {
	r, err := s.OpenBlob(id, off, n)
	if err != nil {
		return err
	}
	_, err = r.WriteTo(w)
	return errors.Join(err, r.Close())
}

// requireNothingHeld: what readers held of the cache was given back.
func requireNothingHeld(t testing.TB, s *Store, c *cache.Cache) {
	t.Helper()
	require.Zero(t, s.Stats().Lent)
	require.Zero(t, c.Stats().Views)
}

// A page is kept when it is read for the second time, and from then on is sent
// as the cache has it, all of a body in one vector.
func TestPagesAreKeptFromTheSecondRead(t *testing.T) {
	for _, size := range []int{MaxInline + 1, chunkData, chunkData + pageSize, 2*chunkData - 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			faulty := disk.NewFaulty(disk.NewMemory(1), 1)
			s, c := cachedStore(t, func(o *Options) { o.FS, o.IndexFS = faulty, nil })
			id, want := addBlob(t, s, size)
			pages := int64(size+pageSize-1) / pageSize
			for i := range int64(2) {
				got := readBlob(t, s, id, 0, int64(size))
				require.True(t, bytes.Equal(want, got.Bytes()))
				require.Zero(t, got.vectors, "a chunk from the drive is one piece")
				require.Equal(t, i*pages, s.Stats().PageFills)
				require.Zero(t, s.Stats().PageHits)
			}
			require.NoError(t, faulty.AddText("read bulk/*: EIO"))
			got := readBlob(t, s, id, 0, int64(size))
			require.True(t, bytes.Equal(want, got.Bytes()), "from memory")
			require.Equal(t, 1, got.vectors)
			require.EqualValues(t, pages, got.most)
			require.Equal(t, pages, s.Stats().PageHits)
			require.Equal(t, pages, s.Stats().PageFills)
			require.Zero(t, s.Stats().LentCopies)
			requireNothingHeld(t, s, c)
		})
	}
}

// Every range around every edge is right, whichever pages are in memory, by
// vector, by writes and by reads of any size, whether memory is short or not.
func TestRangesAcrossPages(t *testing.T) {
	s, c := cachedStore(t, func(o *Options) { o.TransferBytes = 1 << 30 })
	const size = chunkData + 3*pageSize/2
	id, want := addBlob(t, s, size)
	var edges []int64
	for _, e := range []int64{0, crcBlock, pageSize, 2 * pageSize, 3*pageSize + crcBlock, chunkData - pageSize, chunkData, chunkData + pageSize, size} {
		for d := int64(-1); d <= 1; d++ {
			if e+d >= 0 && e+d <= size {
				edges = append(edges, e+d)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		for n := range int64(size+pageSize-1) / pageSize {
			if rng.IntN(2) == 0 {
				s.pages.drop(id, n)
			} else {
				s.pages.keep(id, n, want[n*pageSize:min((n+1)*pageSize, size)])
			}
		}
		for range 60 {
			from, to := edges[rng.IntN(len(edges))], edges[rng.IntN(len(edges))]
			from, to = min(from, to), max(from, to)
			r, err := s.OpenBlob(id, from, to-from)
			require.NoError(t, err)
			taken := rng.Int64N(2) << 30 // by others
			s.transfers.Add(taken)
			var got []byte
			switch rng.IntN(3) {
			case 0:
				var v vectors
				_, err = r.WriteTo(&v)
				got = v.Bytes()
			case 1:
				var b bytes.Buffer
				_, err = r.WriteTo(&b)
				got = b.Bytes()
			case 2:
				buf := make([]byte, 1+rng.IntN(200_000))
				for err == nil {
					var n int
					n, err = r.Read(buf)
					got = append(got, buf[:n]...)
				}
				require.ErrorIs(t, err, io.EOF)
				err = nil
			}
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[from:to], got), "%d to %d", from, to)
			require.NoError(t, r.Close())
			s.transfers.Add(-taken)
		}
	}
	require.Zero(t, s.transfers.Load())
	require.Positive(t, s.Stats().PageHits)
	require.Zero(t, s.Stats().MemoryErrors)
	requireNothingHeld(t, s, c)
}

// What is read once is not kept, whole or in ranges smaller than a page.
func TestOneScanKeepsNothing(t *testing.T) {
	for _, step := range []int64{0, 1000, crcBlock, 100_000, pageSize} {
		s, _ := cachedStore(t, func(o *Options) { o.BulkSegmentSize = 16 << 20 })
		const size = 3 << 20
		for range 4 {
			id, want := addBlob(t, s, size)
			var got []byte
			for off := int64(0); off < size; {
				n := size - off
				if step > 0 {
					n = min(n, step)
				}
				got = append(got, readBlob(t, s, id, off, n).Bytes()...)
				off += n
			}
			require.True(t, bytes.Equal(want, got))
		}
		require.Zero(t, s.Stats().PageFills, "steps of %d", step)
	}
}

// A range that is read again is kept by whole pages.
func TestRangeReadAgainIsKept(t *testing.T) {
	faulty := disk.NewFaulty(disk.NewMemory(1), 1)
	s, _ := cachedStore(t, func(o *Options) { o.FS, o.IndexFS = faulty, nil })
	id, want := addBlob(t, s, chunkData+1000)
	for range 2 {
		require.Equal(t, want[chunkData+500:chunkData+900], readBlob(t, s, id, chunkData+500, 400).Bytes())
		require.Equal(t, want[pageSize+70_000:2*pageSize+10], readBlob(t, s, id, pageSize+70_000, pageSize-70_000+10).Bytes())
	}
	require.EqualValues(t, 3, s.Stats().PageFills)
	require.NoError(t, faulty.AddText("read bulk/*: EIO"))
	require.True(t, bytes.Equal(want[pageSize:3*pageSize], readBlob(t, s, id, pageSize, 2*pageSize).Bytes()))
	require.True(t, bytes.Equal(want[chunkData:], readBlob(t, s, id, chunkData, 1000).Bytes()))
}

// A reader's pieces stay what they are while the cache throws everything out.
func TestPagesSurviveTheirEviction(t *testing.T) {
	s, c := cachedStore(t, nil)
	id, want := addBlob(t, s, chunkData)
	for range 2 {
		readBlob(t, s, id, 0, chunkData)
	}
	flood := func() {
		value := bytes.Repeat([]byte{0xee}, 100_000)
		for i := range 3 * (64 << 20) / len(value) {
			key := fmt.Append(nil, "flood", i)
			c.Set(key, value)
			v, _ := c.Get(key) // what is read again pushes out what was
			v.Release()
		}
	}
	v := vectors{during: flood}
	require.NoError(t, tryReadBlob(s, id, 0, chunkData, &v))
	require.True(t, bytes.Equal(want, v.Bytes()))
	require.Equal(t, 1, v.vectors)
	require.False(t, s.pages.has(id, 0), "or the test shows nothing")
	require.True(t, bytes.Equal(want, readBlob(t, s, id, 0, chunkData).Bytes()))
	requireNothingHeld(t, s, c)
}

// Readers who stand still hold no more than their share of the cache; beyond it
// they are given copies, and all is given back at the end.
func TestReadersHoldAShareOfTheCache(t *testing.T) {
	s, c := cachedStore(t, func(o *Options) { o.BulkSegmentSize = 32 << 20 })
	var ids []backend.BlobID
	for range 4 {
		id, _ := addBlob(t, s, chunkData)
		for range 2 {
			readBlob(t, s, id, 0, chunkData)
		}
		ids = append(ids, id)
	}
	const clients = 60
	stalled := make(chan struct{})
	var holding, most atomic.Int64
	var entered, wg sync.WaitGroup
	entered.Add(clients)
	for i := range clients {
		wg.Go(func() {
			var once sync.Once
			w := &standing{during: func() {
				once.Do(func() {
					entered.Done()
					holding.Add(1)
				})
				<-stalled
				most.Store(max(most.Load(), s.Stats().Lent))
			}}
			id := ids[i%len(ids)]
			if err := tryReadBlob(s, id, 0, chunkData, w); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(blobBytes(id, chunkData), w.Bytes()) {
				t.Error("wrong bytes")
			}
		})
	}
	entered.Wait()
	st := s.Stats()
	require.Equal(t, st.LentMax, st.Lent, "all that may be held is held")
	require.Positive(t, st.LentCopies, "others have copies")
	// The others have room to work.
	for i := range 2 * (64 << 20) / 100_000 {
		require.True(t, c.Set(fmt.Append(nil, "other", i), make([]byte, 100_000)))
	}
	require.LessOrEqual(t, c.Stats().HeldBytes, c.Stats().MappedBytes/lentShare)
	close(stalled)
	wg.Wait()
	require.EqualValues(t, clients, holding.Load())
	require.LessOrEqual(t, most.Load(), st.LentMax)
	requireNothingHeld(t, s, c)
}

// A standing writer stands still at its first piece, or first vector.
type standing struct {
	bytes.Buffer
	during func()
}

func (w *standing) Write(p []byte) (int, error) {
	w.during()
	return w.Buffer.Write(p)
}

func (w *standing) WriteVector(pieces [][]byte) (sum int64, err error) {
	w.during()
	for _, p := range pieces {
		n, _ := w.Buffer.Write(p)
		sum += int64(n)
	}
	return sum, nil
}

// A writer that fails, at any piece, leaves nothing held once the body is closed.
func TestFailedWritersHoldNothing(t *testing.T) {
	s, c := cachedStore(t, nil)
	id, _ := addBlob(t, s, 3*chunkData)
	for range 3 {
		readBlob(t, s, id, 0, 3*chunkData)
	}
	for at := range 10 {
		r, err := s.OpenBlob(id, 0, 3*chunkData)
		require.NoError(t, err)
		_, err = r.WriteTo(&failing{left: at})
		require.ErrorIs(t, err, errGone)
		require.NoError(t, r.Close())
		require.NoError(t, r.Close())
		n, err := r.Read(make([]byte, 1))
		require.Zero(t, n)
		require.ErrorIs(t, err, io.EOF)
		requireNothingHeld(t, s, c)
		if at == 2 { // and part of it from the drive
			for n := range int64(12) {
				s.pages.drop(id, 2*n)
			}
		}
	}
	r, err := s.OpenBlob(id, 0, 3*chunkData)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 3*pageSize/2))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	requireNothingHeld(t, s, c)
}

var errGone = errors.New("the client has gone")

type failing struct{ left int }

func (w *failing) Write(p []byte) (int, error) {
	if w.left--; w.left < 0 {
		return len(p) / 2, errGone
	}
	return len(p), nil
}

// What is damaged on the drive never enters the cache, and what lies beside a
// range that nobody asked for does not make it fail.
func TestDamagedBlocksAreNotKept(t *testing.T) {
	m := disk.NewMemory(1)
	s, _ := cachedStore(t, func(o *Options) { o.FS, o.IndexFS = m, nil })
	id, want := addBlob(t, s, chunkData)
	b, err := s.getBlob(id)
	require.NoError(t, err)
	g := s.segs.get(b.extents[0].segment)
	flip(t, m, g.name, int64(b.extents[0].offset)+blockSize+5*crcBlock+99, 1) // the second block of page 2
	for range 4 {
		var v vectors
		require.ErrorIs(t, tryReadBlob(s, id, 0, chunkData, &v), backend.ErrCorrupt)
		require.True(t, bytes.Equal(want[:v.Len()], v.Bytes()), "never wrong bytes")
	}
	require.Zero(t, s.Stats().PageFills)
	for range 4 {
		require.True(t, bytes.Equal(want[2*pageSize:2*pageSize+crcBlock], readBlob(t, s, id, 2*pageSize, crcBlock).Bytes()))
	}
	require.False(t, s.pages.has(id, 2))
	for range 3 { // the page before it is sound
		require.True(t, bytes.Equal(want[pageSize:2*pageSize], readBlob(t, s, id, pageSize, pageSize).Bytes()))
	}
	require.True(t, s.pages.has(id, 1))
}

// What memory has is verified now and then, against the drive.
func TestDamagedPageInMemoryIsFound(t *testing.T) {
	s, c := cachedStore(t, nil)
	id, want := addBlob(t, s, chunkData)
	for range 3 {
		readBlob(t, s, id, 0, chunkData)
	}
	bad := bytes.Clone(want[3*pageSize : 4*pageSize])
	bad[100_000] ^= 1
	key := pageKey(id, 3)
	require.True(t, c.Set(key[:], bad))
	for range sampleBodies {
		readBlob(t, s, id, 3*pageSize, pageSize)
	}
	require.EqualValues(t, 1, s.Stats().MemoryErrors)
	require.True(t, bytes.Equal(want, readBlob(t, s, id, 0, chunkData).Bytes()))

	// One of another length is found at once.
	require.True(t, c.Set(key[:], bad[1:]))
	require.True(t, bytes.Equal(want, readBlob(t, s, id, 0, chunkData).Bytes()))
}

// A reader has the blob that it opened to its end, and that one alone, while
// others drop it, write anew, compact and fill the cache.
func TestPagesAreNeverMixed(t *testing.T) {
	s, c := cachedStore(t, func(o *Options) { o.BulkSegmentSize = 8 << 20 })
	const size = chunkData + pageSize/2
	first, _ := addBlob(t, s, size)
	var now atomic.Uint64
	now.Store(first.Group)
	var stop atomic.Bool
	var readers, writers sync.WaitGroup
	var whole atomic.Int64
	for range 3 {
		readers.Go(func() {
			for !stop.Load() {
				id := backend.BlobID{Group: now.Load()}
				var v vectors
				switch err := tryReadBlob(s, id, 0, size, &v); {
				case errors.Is(err, backend.ErrMoved) && v.Len() == 0: // dropped before it was opened
				case err != nil:
					t.Error(err)
					return
				case !bytes.Equal(blobBytes(id, size), v.Bytes()):
					t.Error("mixed bytes")
					return
				default:
					whole.Add(1)
				}
			}
		})
	}
	writers.Go(func() {
		for range 40 {
			old := backend.BlobID{Group: now.Load()}
			id := backend.BlobID{Group: s.NextSeq()}
			w, err := s.Stage(ctx, id, size)
			if err == nil {
				_, err = w.Write(blobBytes(id, size))
			}
			var st backend.StagedBlob
			if err == nil {
				st, err = w.Finish()
			}
			if err == nil {
				err = tryAdopt(s, st.(*Staged))
			}
			if err != nil {
				t.Error(err)
				return
			}
			now.Store(id.Group)
			for until := whole.Load() + 4; whole.Load() < until && !t.Failed(); {
				if err := s.Compact(ctx); err != nil {
					t.Error(err)
					return
				}
			}
			var b Batch
			b.DropBlob(s.NextSeq(), old, s.Guard())
			if tk, err := s.Append(&b); err != nil || tk.Wait(ctx) != nil {
				t.Error("drop", err)
				return
			}
		}
	})
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	require.Positive(t, s.Stats().PageHits)
	require.Positive(t, s.Stats().Recycled)
	requireNothingHeld(t, s, c)
}

// A cache whose items are smaller than a page keeps none, and is none the worse.
func TestSmallCacheKeepsNoPages(t *testing.T) {
	c, err := cache.New(cache.Options{Bytes: cache.MinBytes})
	require.NoError(t, err)
	o := small(disk.NewMemory(1))
	o.Cache = c
	s := open(t, o)
	id, want := addBlob(t, s, chunkData)
	for range 3 {
		require.True(t, bytes.Equal(want, readBlob(t, s, id, 0, chunkData).Bytes()))
	}
	require.Zero(t, s.Stats().PageFills)
	require.NoError(t, s.Close())
	require.NoError(t, c.Close())
}
