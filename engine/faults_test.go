package engine_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/s3"
	"github.com/cairnstore/cairn/engine/store"
)

// A wire is a server on a drive that fails by rules, and its client.
type wire struct {
	t      *testing.T
	stack  *stack
	server *httptest.Server
	signer *sign.Signer
}

func openWire(t *testing.T, fsys disk.FS, tune func(*store.Options)) *wire {
	t.Helper()
	st, err := openStack(fsys, func(o *store.Options, _ *object.Options) {
		if tune != nil {
			tune(o)
		}
	})
	require.NoError(t, err)
	verifier, err := auth.New(auth.Options{Region: "us-east-1", Secret: func(key string) (string, bool) { return "secret-of-owner", key == "owner" }})
	require.NoError(t, err)
	h, err := s3.New(s3.Options{API: st.Service, Auth: verifier, Region: "us-east-1", Logger: slog.New(slog.DiscardHandler), MaxConcurrent: 256})
	require.NoError(t, err)
	w := &wire{t: t, stack: st, server: httptest.NewServer(h), signer: sign.New("owner", "secret-of-owner", "us-east-1")}
	t.Cleanup(w.close)
	return w
}

func (w *wire) close() {
	if w.server != nil {
		w.server.Close()
		_ = w.stack.Close()
		_ = w.stack.store.Close() // after a fault its error is the fault
		w.server = nil
	}
}

// do sends a request and returns its status and the whole answer; a body that
// breaks off is an error.
func (w *wire) do(method, path string, body []byte) (status int, answer []byte, err error) {
	r, err := http.NewRequest(method, w.server.URL+path, bytes.NewReader(body))
	require.NoError(w.t, err)
	w.signer.Sign(r, sign.HashOf(body), time.Now())
	resp, err := w.server.Client().Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

func (w *wire) must(status int, method, path string, body []byte) []byte {
	w.t.Helper()
	got, answer, err := w.do(method, path, body)
	require.NoError(w.t, err)
	require.Equal(w.t, status, got, "%s %s: %s", method, path, answer)
	return answer
}

// A full drive answers 507 to new objects, small and large, and serves reads,
// lists and deletes; with space it takes objects again.
func TestFullDriveOverHTTP(t *testing.T) {
	m := disk.NewMemory(1)
	w := openWire(t, m, nil)
	w.must(200, "PUT", "/photos", nil)
	m.SetCapacity(24 << 20)
	acked := map[string][]byte{}
	refusals := 0
	for i := 0; refusals < 3; i++ {
		require.Less(t, i, 2000)
		n := 20_000
		if i%10 == 9 {
			n = 700_000
		}
		path, body := fmt.Sprintf("/photos/%04d", i), bytes.Repeat([]byte{byte(i)}, n)
		status, answer, err := w.do("PUT", path, body)
		require.NoError(t, err)
		if status == 507 {
			require.Contains(t, string(answer), "<Code>XMinioStorageFull</Code>")
			refusals++
			continue
		}
		require.Equal(t, 200, status, string(answer))
		acked[path] = body
	}
	require.Greater(t, len(acked), 20)
	deleted := 0
	for path, body := range acked {
		require.True(t, bytes.Equal(body, w.must(200, "GET", path, nil)))
		if deleted++; deleted%2 == 0 {
			w.must(204, "DELETE", path, nil)
			delete(acked, path)
			w.must(404, "GET", path, nil)
		}
	}
	list := w.must(200, "GET", "/photos?list-type=2", nil)
	require.Equal(t, len(acked), bytes.Count(list, []byte("<Key>")))
	m.SetCapacity(200 << 20)
	require.Eventually(t, func() bool {
		status, _, err := w.do("PUT", "/photos/again", []byte("b"))
		return err == nil && status == 200
	}, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, "b", string(w.must(200, "GET", "/photos/again", nil)))
}

// A read error is an error to the client, in the status or by a body that breaks
// off, and never wrong bytes.
func TestReadErrorsOverHTTP(t *testing.T) {
	for _, rules := range []string{"read log/*: EIO\nread bulk/*: EIO", "read log/* every 2: flip\nread bulk/* every 2: flip"} {
		f := disk.NewFaulty(disk.NewMemory(1), 1)
		w := openWire(t, f, nil)
		w.must(200, "PUT", "/photos", nil)
		acked := map[string][]byte{}
		for i := range 20 {
			path, body := fmt.Sprintf("/photos/%04d", i), bytes.Repeat([]byte{byte(i)}, 20_000+i%2*3_000_000)
			w.must(200, "PUT", path, body)
			acked[path] = body
		}
		require.NoError(t, f.AddText(rules))
		bad := 0
		for path, body := range acked {
			status, answer, err := w.do("GET", path, nil)
			if err != nil || status != 200 {
				bad++
				require.True(t, status == 200 || status >= 500 || status == 0, "%d", status)
				continue
			}
			require.True(t, bytes.Equal(body, answer), "never wrong bytes")
		}
		require.Positive(t, bad)
		w.must(200, "HEAD", "/photos/0000", nil) // needs no body
		f.Clear()
		for path, body := range acked {
			require.True(t, bytes.Equal(body, w.must(200, "GET", path, nil)))
		}
		w.close()
	}
}

// After a failed sync nothing is acknowledged until a restart; what was, is there.
func TestFailedSyncOverHTTP(t *testing.T) {
	for _, rule := range []string{"sync log/* nth 12: lose", "sync bulk/* nth 3: EIO", "write log/* nth 12: torn"} {
		f := disk.NewFaulty(disk.NewMemory(1), 1)
		w := openWire(t, f, nil)
		w.must(200, "PUT", "/photos", nil)
		require.NoError(t, f.AddText(rule))
		var mu sync.Mutex
		acked := map[string][]byte{}
		var refused atomic.Int64
		var wg sync.WaitGroup
		for c := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range 40 {
					path, body := fmt.Sprintf("/photos/%d-%02d", c, i), bytes.Repeat([]byte{byte(i), byte(c)}, 1000+i%4/3*400_000)
					status, answer, err := w.do("PUT", path, body)
					switch {
					case err != nil:
						t.Error(err)
					case status == 200:
						mu.Lock()
						acked[path] = body
						mu.Unlock()
					case status != 503:
						t.Errorf("%d %s", status, answer)
					default:
						refused.Add(1)
						return
					}
				}
			}()
		}
		wg.Wait()
		require.Equal(t, int64(4), refused.Load(), rule)
		require.NotEmpty(t, acked)
		w.must(503, "PUT", "/photos/more", []byte("b"))
		w.must(503, "DELETE", "/photos/0-00", nil)
		for path, body := range acked {
			require.True(t, bytes.Equal(body, w.must(200, "GET", path, nil)), "reads go on")
		}
		w.close()
		f.Clear()
		w = openWire(t, f, nil)
		for path, body := range acked {
			require.True(t, bytes.Equal(body, w.must(200, "GET", path, nil)), rule)
		}
		w.must(200, "PUT", "/photos/more", []byte("b"))
		w.close()
	}
}

// On a slow drive requests wait, and no more memory than the bounds say.
func TestSlowDriveOverHTTP(t *testing.T) {
	f := disk.NewFaulty(disk.NewMemory(1), 1)
	w := openWire(t, f, func(o *store.Options) { o.OverlayBytes = 1 << 20 })
	w.must(200, "PUT", "/photos", nil)
	require.NoError(t, f.AddText("sync log/*: delay 10ms\nwrite index/*: delay 5ms"))
	var wg sync.WaitGroup
	var most atomic.Int64
	for c := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 12 {
				status, answer, err := w.do("PUT", fmt.Sprintf("/photos/%d-%d", c, i), make([]byte, 60_000))
				if err != nil || status != 200 {
					t.Errorf("%v %d %s", err, status, answer)
					return
				}
				most.Store(max(most.Load(), w.stack.store.Stats().OverlayBytes))
			}
		}()
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int64(1<<20)+256<<10)
	f.Clear()
	require.Equal(t, 16*12, bytes.Count(w.must(200, "GET", "/photos?list-type=2", nil), []byte("<Key>")))
}
