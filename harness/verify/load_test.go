package verify

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func md5Sum(b []byte) [md5.Size]byte { return md5.Sum(b) }

// serve runs the real engine behind a handler that may spoil what it does.
func serve(t *testing.T, spoil func(http.Handler) http.Handler) *Load {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{Dir: t.TempDir(), AccessKey: "access", SecretKey: "secret-secret", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	h := e.Handler()
	if spoil != nil {
		h = spoil(h)
	}
	server := httptest.NewServer(h)
	client := NewClient(ClientOptions{Address: strings.TrimPrefix(server.URL, "http://"), Bucket: "verify", Access: "access", Secret: "secret-secret", Timeout: 5 * time.Second})
	t.Cleanup(func() {
		client.Close()
		server.Close()
		require.NoError(t, e.Close(context.Background()))
	})
	require.NoError(t, client.CreateBucket(t.Context()))
	require.NoError(t, client.CreateBucket(t.Context()), "one that is there is fine")
	return &Load{Client: client, Journal: NewJournal(), Keys: Keys("k/", 70), Clients: 6, Weights: Weights{4, 1, 3, 1, 1}, Sizes: []int{24, 3000, 150_000}, Seed: 3}
}

// judge runs the load until it made so many operations, and returns all that
// the checkers say.
func judge(t *testing.T, l *Load, operations int64) (broken []Violation) {
	t.Helper()
	var done atomic.Int64
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	l.Observe = func(Op, time.Duration, error) {
		if done.Add(1) >= operations {
			stop()
		}
	}
	require.NoError(t, l.Run(ctx))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	read, err := l.ReadAll(ctx)
	if wrong, ok := errors.AsType[*CorruptError](err); ok {
		broken, err = append(broken, Violation{"checksum", wrong.Error()}), nil
	}
	require.NoError(t, err)
	listing, err := l.Client.List(ctx, "k/")
	require.NoError(t, err)
	broken = append(broken, l.Corrupt()...)
	e := l.Journal.Cut()
	broken = append(broken, Acknowledged(&e)...)
	linear, undecided := Linear(&e, time.Minute)
	require.Empty(t, undecided)
	broken = append(broken, linear...)
	return append(broken, Listed(listing, read)...)
}

func TestAGoodServerIsNotBlamed(t *testing.T) {
	l := serve(t, nil)
	require.Empty(t, judge(t, l, 700))
	require.Empty(t, judge(t, l, 500), "nor in a second epoch")
}

func TestAnOpenLoopAsksAtItsRate(t *testing.T) {
	l := serve(t, nil)
	l.Rate = 500
	start := time.Now()
	require.Empty(t, judge(t, l, 250))
	require.Greater(t, time.Since(start), 400*time.Millisecond, "250 of them are not due before")
}

// nth runs f for every nth request that matches.
func nth(n int64, match func(*http.Request) bool, f http.HandlerFunc) func(http.Handler) http.Handler {
	var seen atomic.Int64
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if match(r) && seen.Add(1)%n == 0 {
				f(w, r)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

func isObject(method string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.Path, "/k/") }
}

func requireChecker(t *testing.T, broken []Violation, checker string) {
	t.Helper()
	for _, v := range broken {
		if v.Checker == checker {
			return
		}
	}
	t.Fatalf("%s saw nothing; all of them: %v", checker, broken)
}

func TestAPutThatIsAcknowledgedAndNotDoneIsSeen(t *testing.T) {
	broken := judge(t, serve(t, nth(20, isObject("PUT"), func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})), 600)
	requireChecker(t, broken, "acknowledged")
	requireChecker(t, broken, "linear")
}

func TestADeleteThatIsAcknowledgedAndNotDoneIsSeen(t *testing.T) {
	broken := judge(t, serve(t, nth(3, isObject("DELETE"), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(204)
	})), 600)
	requireChecker(t, broken, "acknowledged")
}

func TestAFlippedBitIsSeen(t *testing.T) {
	l := serve(t, spoilt(50, isObject("GET"), func(rec *httptest.ResponseRecorder) {
		if b := rec.Body.Bytes(); rec.Code == 200 {
			b[len(b)-1] ^= 1
		}
	}))
	requireChecker(t, judge(t, l, 700), "checksum")
}

// spoilt changes every nth answer to a request that matches.
func spoilt(n int64, match func(*http.Request) bool, spoil func(*httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return nth(n, match, func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			spoil(rec)
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		})(h)
	}
}

// change changes a header of an answer that has it, however it is spelled.
func change(rec *httptest.ResponseRecorder, name string, to func(string) string) {
	for key, values := range rec.Header() {
		if strings.EqualFold(key, name) {
			rec.Header()[key] = []string{to(values[0])}
		}
	}
}

func ranged(r *http.Request) bool { return isObject("GET")(r) && r.Header.Get("Range") != "" }

func whole(r *http.Request) bool { return isObject("GET")(r) && !ranged(r) }

func TestABitThatIsFlippedInARangeIsSeen(t *testing.T) {
	l := serve(t, spoilt(50, ranged, func(rec *httptest.ResponseRecorder) {
		if b := rec.Body.Bytes(); rec.Code == 206 {
			b[len(b)/2] ^= 1
		}
	}))
	l.Ranges = 5
	requireChecker(t, judge(t, l, 1500), "checksum")
}

func TestARangeThatIsRefusedIsSeen(t *testing.T) {
	l := serve(t, nth(20, ranged, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(416) }))
	requireChecker(t, judge(t, l, 500), "checksum")
}

// A part's wrong ETag alone is to be blamed: the object was never asked for.
func TestAPartsWrongETagIsNoLoss(t *testing.T) {
	l := serve(t, spoilt(20, query("partNumber"), func(rec *httptest.ResponseRecorder) {
		change(rec, "ETag", func(string) string { return `"0"` })
	}))
	l.Uploads = 5
	broken := judge(t, l, 600)
	require.NotEmpty(t, broken)
	for _, v := range broken {
		require.Equal(t, "checksum", v.Checker, v.What)
	}
}

func TestAWrongETagIsSeen(t *testing.T) {
	l := serve(t, spoilt(50, whole, func(rec *httptest.ResponseRecorder) {
		change(rec, "ETag", func(string) string { return `"00000000000000000000000000000000"` })
	}))
	requireChecker(t, judge(t, l, 1000), "checksum")
}

// The metadata of another put: what a store does that writes bytes and metadata apart.
func TestMetadataOfAnotherPutIsSeen(t *testing.T) {
	l := serve(t, spoilt(50, whole, func(rec *httptest.ResponseRecorder) {
		change(rec, labelHeader, func(label string) string { return "1" + label })
	}))
	broken := judge(t, l, 1000)
	requireChecker(t, broken, "checksum")
	require.Contains(t, broken[0].What, "with the metadata of put")
}

func query(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.URL.Query().Has(name) }
}

func TestAPartThatIsAcknowledgedAndGoneIsSeen(t *testing.T) {
	l := serve(t, nth(20, query("partNumber"), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5Sum(body)))
	}))
	l.Uploads = 5
	broken := judge(t, l, 1000)
	requireChecker(t, broken, "acknowledged")
	require.Contains(t, broken[0].What, "InvalidPart")
}

// A Complete that is told to be done and is not.
func TestACompleteThatIsAcknowledgedAndNotDoneIsSeen(t *testing.T) {
	l := serve(t, func(h http.Handler) http.Handler {
		var seen atomic.Int64
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "POST" || !query("uploadId")(r) || seen.Add(1)%20 != 0 {
				h.ServeHTTP(w, r)
				return
			}
			var sent struct{ Part []struct{ ETag string } }
			_ = xml.NewDecoder(r.Body).Decode(&sent)
			sums := md5.New()
			for _, p := range sent.Part {
				sum, _ := hex.DecodeString(p.ETag)
				_, _ = sums.Write(sum)
			}
			_, _ = fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%x-%d</ETag></CompleteMultipartUploadResult>", sums.Sum(nil), len(sent.Part))
		})
	})
	l.Uploads = 5
	broken := judge(t, l, 1000)
	requireChecker(t, broken, "acknowledged")
	requireChecker(t, broken, "linear")
}

// A Complete that is asked for again publishes nothing again: a server that does is seen, since
// what was overwritten meanwhile comes back.
func TestACompleteThatPublishesTwiceIsSeen(t *testing.T) {
	var mu sync.Mutex
	lost := map[string]bool{} // by upload: its first answer was
	var direct http.Handler
	l := serve(t, func(h http.Handler) http.Handler {
		direct = h
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id := r.URL.Query().Get("uploadId")
			if r.Method != "POST" || id == "" {
				h.ServeHTTP(w, r)
				return
			}
			mu.Lock()
			again := lost[id]
			lost[id] = true
			mu.Unlock()
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			if !again {
				time.Sleep(5 * time.Millisecond) // others overwrite it
				panic(http.ErrAbortHandler)
			}
			maps.Copy(w.Header(), rec.Header())
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes())
		})
	})
	l.Keys, l.Uploads, l.Deletes = l.Keys[:4], 3, 0
	require.Empty(t, judge(t, l, 400), "the real one does not")

	// Now each that is asked for again puts its bytes once more.
	var begun sync.Map // content, by upload
	republish := NewClient(ClientOptions{Address: "direct", Bucket: "verify", Access: "access", Secret: "secret-secret"})
	republish.http.Transport = handlerTransport{direct}
	l.Client.http.Transport = &watching{RoundTripper: l.Client.http.Transport, begun: &begun, again: func(key string, c Content) {
		u, err := republish.Begin(context.Background(), key, c)
		for n := 1; n <= c.Parts && err == nil; n++ {
			err = u.Part(context.Background(), n)
		}
		if err == nil {
			err = u.Complete(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	}}
	requireChecker(t, judge(t, l, 800), "linear")
}

// handlerTransport asks a handler without a network.
type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	r.RequestURI = r.URL.RequestURI()
	t.h.ServeHTTP(rec, r)
	answer := rec.Result()
	answer.Header = http.Header{}
	for name, values := range rec.Header() { // as a client reads them
		answer.Header[http.CanonicalHeaderKey(name)] = values
	}
	return answer, nil
}

// watching has an upload's content put again when its Complete is asked for a second time.
type watching struct {
	http.RoundTripper
	begun *sync.Map
	again func(key string, c Content)
	mu    sync.Mutex
	asked map[string]int
}

func (w *watching) RoundTrip(r *http.Request) (*http.Response, error) {
	id := r.URL.Query().Get("uploadId")
	if r.Method == "POST" && id != "" {
		w.mu.Lock()
		if w.asked == nil {
			w.asked = map[string]int{}
		}
		w.asked[id]++
		n := w.asked[id]
		w.mu.Unlock()
		if c, ok := w.begun.Load(id); ok && n == 2 {
			w.again(strings.TrimPrefix(r.URL.Path, "/verify/"), c.(Content))
		}
	}
	answer, err := w.RoundTripper.RoundTrip(r)
	if err == nil && r.Method == "POST" && r.URL.Query().Has("uploads") && answer.StatusCode == 200 {
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		answer.Body = io.NopCloser(bytes.NewReader(text))
		var begun struct{ UploadId string }
		_ = xml.Unmarshal(text, &begun)
		c, _ := readLabel(r.Header.Get(labelHeader))
		w.begun.Store(begun.UploadId, c)
	}
	return answer, err
}

func TestAListingThatLeavesOutAKeyIsSeen(t *testing.T) {
	l := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("list-type") == "" {
				h.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			text := rec.Body.String()
			from := strings.Index(text, "<Contents>")
			to := strings.Index(text, "</Contents>") + len("</Contents>")
			_, _ = io.WriteString(w, text[:from]+text[to:])
		})
	})
	requireChecker(t, judge(t, l, 500), "listed")
}

// Answers that are lost leave doubt, and doubt is no blame.
func TestLostAnswersLeaveDoubt(t *testing.T) {
	var mu sync.Mutex
	lost := 0
	l := serve(t, func(h http.Handler) http.Handler {
		var seen atomic.Int64
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := seen.Add(1)
			if r.Method == "GET" || n%15 != 0 {
				h.ServeHTTP(w, r)
				return
			}
			if n%2 == 0 { // done, and nobody hears of it
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
			mu.Lock()
			lost++
			mu.Unlock()
			panic(http.ErrAbortHandler)
		})
	})
	require.Empty(t, judge(t, l, 700))
	require.Positive(t, lost)
}

func TestOutcomes(t *testing.T) {
	require.Equal(t, OK, OutcomeOf(nil))
	require.Equal(t, Refused, OutcomeOf(&StatusError{403, "AccessDenied"}))
	require.Equal(t, Doubt, OutcomeOf(&StatusError{500, "InternalError"}))
	require.Equal(t, Doubt, OutcomeOf(&StatusError{503, "SlowDown"}))
	require.Equal(t, Doubt, OutcomeOf(io.ErrUnexpectedEOF))
	c := NewClient(ClientOptions{Address: "127.0.0.1:1", Bucket: "b", Access: "a", Secret: "s"})
	require.Equal(t, Refused, OutcomeOf(c.Put(t.Context(), "k", Content{ID: 1, Size: 24})), "nothing listens: it was never sent")
}

func TestALoadThatCannotRunSaysSo(t *testing.T) {
	for _, l := range []*Load{{}, {Clients: 1, Keys: []string{"k"}, Sizes: []int{3}, Weights: Weights{Puts: 1}}, {Clients: 1, Keys: []string{"k"}, Sizes: []int{100}}} {
		require.Error(t, l.Run(t.Context()))
	}
}
