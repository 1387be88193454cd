package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// TestFailureIsTold: whatever of the drive fails, whoever waits for a write is
// told, later writes are refused, and everything acknowledged can be read
// without a restart, and counted as long as the index can be written.
//
// In a process of its own, for an index that can't be written may be left as it is.
func TestFailureIsTold(t *testing.T) {
	if !child(t) {
		return
	}
	const index = "write to the index"
	for name, rule := range map[string]string{
		"sync of the log":  "sync log/* after 60 times 1: lose",
		"write to the log": "write log/* after 60: EIO",
		index:              "write,sync index/*.sst after 5: EIO",
	} {
		t.Run(name, func(t *testing.T) {
			fsys := disk.NewFaulty(disk.NewMemory(1), 1)
			o := small(fsys)
			o.OverlayBytes = 4 << 20 // or a fast machine's burst keeps the index waiting
			s := open(t, o)
			require.NoError(t, fsys.AddText(rule))
			const clients = 8
			acked := make([]int, clients)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				var wg sync.WaitGroup
				for c := range clients {
					wg.Go(func() {
						for tryPut(s, fmt.Sprintf("%d/%06d", c, acked[c]), "v", make([]byte, 100+c*500)) == nil {
							acked[c]++
						}
					})
				}
				wg.Wait()
			}()
			within(t, "a client waits for a write for ever", ended)
			require.True(t, s.Failed())
			require.ErrorIs(t, tryPut(s, "later", "v", nil), backend.ErrUnavailable)

			looked := make(chan struct{})
			go func() {
				defer close(looked)
				var want, weight int64
				for c, n := range acked {
					want += int64(n)
					weight += int64(n * (100 + c*500))
					if n > 0 {
						_, found, err := s.Get([]byte(fmt.Sprintf("%d/%06d", c, n-1)), nil)
						if err != nil || !found {
							t.Errorf("an acknowledged write is gone: %v", err)
						}
					}
				}
				if entries, sum := s.Count(7); name != index && (entries != want || sum != weight) {
					t.Errorf("%d entries of %d bytes are counted, %d of %d acknowledged", entries, sum, want, weight)
				}
			}()
			within(t, "a reader waits for ever", looked)
			closed := make(chan struct{})
			go func() { defer close(closed); _ = s.Close() }() // its error is the failure's
			within(t, "Close waits for ever", closed)
		})
	}
	if !t.Failed() {
		childDone()
	}
}

func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what)
	}
}

// child runs the test that calls it once more, in a process of its own, where it
// returns true: for what leaves goroutines behind that never end. Such a test
// ends with childDone.
func child(t *testing.T) bool {
	t.Helper()
	const key = "CAIRN_TEST_CHILD"
	if os.Getenv(key) == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), key+"="+t.Name())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "child is done")
	return false
}

func childDone() {
	fmt.Println("child is done")
	os.Exit(0)
}

// TestIndexDiesDuringClose: the last flush of the index meets the fatal error
// when the closing waits for it already. In a process of its own, for what such
// an index leaves behind never ends.
func TestIndexDiesDuringClose(t *testing.T) {
	if !child(t) {
		return
	}
	fsys := disk.NewFaulty(disk.NewMemory(1), 1)
	s := open(t, small(fsys))
	put(t, s, "key", "v", nil)
	s.catchUp()
	require.NoError(t, fsys.AddText("write,sync index/*.sst: delay 100ms"))
	require.NoError(t, fsys.AddText("write,sync index/MANIFEST*: EIO"))
	_, err := s.db.AsyncFlush()
	require.NoError(t, err)
	// A flush that begins after Close has does nothing.
	require.Eventually(t, func() bool { return fsys.Fired() > 0 }, 20*time.Second, 100*time.Microsecond)
	s.fail(errors.New("power is gone"))
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		err = s.Close()
	}()
	within(t, "Close waits for ever", closed)
	require.True(t, s.indexDead.Load(), "%v", err)
	childDone()
}

// TestSyncOfZerosFails: a drive that fails a sync of a file that is being filled
// has failed, whatever the file was for.
func TestSyncOfZerosFails(t *testing.T) {
	fsys := disk.NewFaulty(disk.NewMemory(1), 1)
	s := open(t, small(fsys))
	require.NoError(t, fsys.AddText("sync log/0000000003.seg nth 2: EIO")) // the first is of its size
	var err error
	for i := 0; i < 400 && err == nil; i++ {
		err = tryPut(s, fmt.Sprint("key", i), "v", make([]byte, 4000))
	}
	require.ErrorIs(t, err, backend.ErrUnavailable)
	require.True(t, s.Failed())
	_ = s.Close() // its error is the drive's again
}

// TestCloseWhileTheIndexCannotBeWritten: what waits to be applied stays in the
// log when the index takes nothing more, whether the failure came before the
// closing or with it.
func TestCloseWhileTheIndexCannotBeWritten(t *testing.T) {
	if !child(t) {
		return
	}
	for _, c := range []struct {
		name, fault string
		late        bool
	}{
		{"before", "write,sync,create index/*: EIO", false},
		{"with it", "write,sync,create index/*: EIO", true},
		// Pebble takes this for a flush to try again, the other for its end.
		{"tables only, before", "create index/*.sst: EIO", false},
		{"tables only, with it", "create index/*.sst: EIO", true},
	} {
		memory := disk.NewMemory(1)
		fsys := disk.NewFaulty(memory, 1)
		o := small(fsys)
		o.IndexMemBytes, o.FlushBytes, o.ApplyEvery = 64<<10, 1<<30, time.Hour
		s := open(t, o)
		fault := func() { require.NoError(t, fsys.AddText(c.fault)) }
		acked := 0
		for ; acked < 10; acked++ {
			put(t, s, fmt.Sprintf("%06d", acked), "v", make([]byte, 100))
		}
		if !c.late {
			fault()
		}
		for acked < 5000 && tryPut(s, fmt.Sprintf("%06d", acked), "v", make([]byte, 100)) == nil {
			acked++
		}
		if c.late {
			fault()
		}
		// As compaction does until the closing ends it.
		moved := make(chan error)
		go func() {
			var err error
			for err == nil {
				err = s.submit([]move{{key: []byte("none")}})
			}
			moved <- err
		}()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if err := s.Close(); c.late {
				assert.ErrorContains(t, err, "close index")
			}
			assert.Error(t, <-moved)
		}()
		within(t, c.name+": Close waits for ever", closed)
		// Pebble may try the flush again, but neither without rest nor after Close.
		tries := fsys.Fired()
		require.Less(t, tries, int64(500), c.name)
		time.Sleep(20 * time.Millisecond)
		require.Equal(t, tries, fsys.Fired(), c.name)
		s = open(t, small(memory.Crash(disk.NothingUnsynced, nil)))
		for i := range acked {
			_, found, err := s.Get(fmt.Appendf(nil, "%06d", i), nil)
			require.NoError(t, err)
			require.True(t, found, "%s: %d", c.name, i)
		}
		require.NoError(t, s.Close())
	}
	childDone()
}

// An upload that can't begin its file leaves none behind.
func TestAFileThatCannotBeginIsRemoved(t *testing.T) {
	s, f, _ := faultyStore(t, nil)
	for range 5 {
		f.Clear()
		require.NoError(t, f.AddText("write bulk/* nth 1: EIO"))
		w, err := s.Stage(ctx, backend.BlobID{Group: s.NextSeq()}, 900_000)
		require.NoError(t, err)
		_, err = w.Write(make([]byte, 900_000))
		if err == nil {
			_, err = w.Finish()
		}
		require.Error(t, err)
		w.Abort()
	}
	f.Clear()
	require.False(t, s.Failed())
	names, err := s.opt.FS.List("bulk")
	require.NoError(t, err)
	require.Empty(t, names)
	id, data := addBlob(t, s, 900_000)
	require.Equal(t, data, readBlob(t, s, id, 0, 900_000).Bytes())
	require.NoError(t, s.Close())
}

// A wall clock that is set back does not hold up the closing of a store whose index failed.
func TestCloseAfterTheClockWasSetBack(t *testing.T) {
	s, f, _ := faultyStore(t, nil)
	require.NoError(t, f.AddText("write index/* nth 1: EIO"))
	for i := 0; s.indexFailedAt.Load() == 0 && i < 200; i++ {
		_ = tryPut(s, fmt.Sprint("k", i), "v", make([]byte, 2000))
		_ = s.flushPast()
	}
	f.Clear()
	s.indexFailedAt.Add(int64(time.Hour))
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = s.Close()
	}()
	within(t, "Close waits for the clock", closed)
}
