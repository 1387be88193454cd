package verify

import (
	"context"
	"crypto/md5"
	"errors"
	"io"
	"log/slog"
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
	return &Load{Client: client, Journal: NewJournal(), Keys: Keys("k/", 70), Clients: 6, Puts: 5, Gets: 4, Deletes: 1, Sizes: []int{24, 3000, 150_000}, Seed: 3}
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
	l := serve(t, func(h http.Handler) http.Handler {
		var seen atomic.Int64
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !isObject("GET")(r) || seen.Add(1)%50 != 0 {
				h.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			if rec.Code == 200 {
				body[len(body)-1] ^= 1
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body)
		})
	})
	requireChecker(t, judge(t, l, 700), "checksum")
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
	require.Equal(t, Refused, OutcomeOf(c.Put(t.Context(), "k", Content{1, 24})), "nothing listens: it was never sent")
}

func TestALoadThatCannotRunSaysSo(t *testing.T) {
	for _, l := range []*Load{{}, {Clients: 1, Keys: []string{"k"}, Sizes: []int{3}, Puts: 1}, {Clients: 1, Keys: []string{"k"}, Sizes: []int{100}}} {
		require.Error(t, l.Run(t.Context()))
	}
}
