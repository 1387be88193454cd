package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

const token = "0123456789abcdef"

func handler(ready error) *Handler {
	return New(Options{
		Ready:   func() error { return ready },
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("exposition")) }),
		Token:   token,
		Domains: []string{"s3.example"},
	})
}

func ask(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHealth(t *testing.T) {
	s3 := http.NotFoundHandler()
	for _, c := range []struct {
		path       string
		ready, not int // status when ready, and when not
	}{
		{"/health", 200, 503},
		{"/health/ready", 200, 503},
		{"/health/live", 200, 200},
		{"/minio/health/live", 200, 200},
		{"/minio/health/ready", 200, 503},
		{"/minio/health/cluster", 200, 503},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			for _, h := range []func(*Handler) http.Handler{
				func(h *Handler) http.Handler { return h },
				func(h *Handler) http.Handler { return h.Beside(s3) },
			} {
				require.Equal(t, c.ready, ask(h(handler(nil)), method, c.path).Code, c.path)
				require.Equal(t, c.not, ask(h(handler(errors.New("stopping"))), method, c.path).Code, c.path)
			}
		}
	}
	require.JSONEq(t, `{"status":"ok"}`, ask(handler(nil), "GET", "/health").Body.String())
	require.JSONEq(t, `{"status":"unavailable","reason":"stopping"}`, ask(handler(errors.New("stopping")), "GET", "/health").Body.String())
}

func TestWhatIsS3s(t *testing.T) {
	const teapot = http.StatusTeapot
	h := handler(nil).Beside(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(teapot) }))
	for _, c := range []struct {
		method, target string
		header         []string
		want           int
	}{
		{"GET", "/health", nil, 200},
		{"GET", "/health?x=1", nil, 200},
		{"GET", "/", nil, teapot},
		{"GET", "/photos/health", nil, teapot},
		{"GET", "/health/", nil, teapot},
		{"GET", "/health/x", nil, teapot},
		{"PUT", "/health", nil, teapot},
		{"GET", "/health", []string{"Authorization", "AWS4-HMAC-SHA256 Credential=…"}, teapot},
		{"GET", "/health?X-Amz-Signature=00", nil, teapot},
		{"GET", "http://photos.s3.example/health", nil, teapot},
		{"GET", "http://photos.S3.example:9000/health", nil, teapot},
		{"GET", "http://s3.example/health", nil, 200},
		{"GET", "http://notS3.example/health", nil, 200},
	} {
		require.Equal(t, c.want, ask(h, c.method, c.target, c.header...).Code, "%+v", c)
	}
}

func TestMetricsAreGuardedOnTheS3Port(t *testing.T) {
	s3 := http.NotFoundHandler()
	guarded := handler(nil).Beside(s3)
	require.Equal(t, 401, ask(guarded, "GET", "/metrics").Code)
	require.Equal(t, 401, ask(guarded, "GET", "/metrics", "Authorization", "Bearer wrong").Code)
	require.Equal(t, 401, ask(guarded, "GET", "/metrics", "Authorization", "Basic "+token).Code)
	require.Equal(t, "exposition", ask(guarded, "GET", "/metrics", "Authorization", "Bearer "+token).Body.String())
	require.Equal(t, "exposition", ask(handler(nil), "GET", "/metrics").Body.String(), "the own port")

	o := handler(nil).o
	o.Token = ""
	require.Equal(t, 401, ask(New(o).Beside(s3), "GET", "/metrics", "Authorization", "Bearer ").Code, "no token is not an empty token")
	o.Public = true
	require.Equal(t, 200, ask(New(o).Beside(s3), "GET", "/metrics").Code)
}

func TestOwnPortServesNothingElse(t *testing.T) {
	require.Equal(t, 404, ask(handler(nil), "GET", "/photos").Code)
	require.Equal(t, 405, ask(handler(nil), "POST", "/health").Code)
}

// Every path begins with a reserved name, or it would shadow somebody's bucket.
func TestPathsAreReserved(t *testing.T) {
	for path := range handler(nil).paths {
		first := path[1:]
		for i := range first {
			if first[i] == '/' {
				first = first[:i]
				break
			}
		}
		require.Contains(t, Reserved, first)
	}
}

func TestProfilesAreOnTheOwnPortAlone(t *testing.T) {
	s3 := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=1"} {
		require.Equal(t, 200, ask(handler(nil), "GET", path).Code, path)
		require.Equal(t, http.StatusTeapot, ask(handler(nil).Beside(s3), "GET", path, "Authorization", "Bearer "+token).Code, path)
	}
	require.Equal(t, 404, ask(handler(nil), "GET", "/debug/pprof/nothing").Code)
}

// A page that an operator reads can't have his browser ask.
func TestOwnPortIsNotForPages(t *testing.T) {
	for _, header := range [][]string{{"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		for _, path := range []string{"/debug/pprof/heap", "/metrics", "/health"} {
			require.Equal(t, 403, ask(handler(nil), "GET", path, header...).Code, path)
		}
	}
	require.Equal(t, 200, ask(handler(nil), "GET", "/metrics", "Sec-Fetch-Site", "none").Code, "the operator himself")
}

// What can't be done is said with its status before the first line, and in a line after it.
func TestWarmingOverHTTP(t *testing.T) {
	var told int
	var failure error
	h := New(Options{
		Ready: func() error { return nil }, Metrics: http.NotFoundHandler(), AdminToken: token,
		Cache: func() (any, error) { return nil, failure },
		Warm: func(ctx context.Context, bucket, prefix string, progress func(any)) (any, error) {
			require.Equal(t, "photos 2026/ü", bucket+" "+prefix)
			for i := range told {
				progress(map[string]int{"objects": i})
			}
			return map[string]bool{"done": true}, failure
		},
	})
	warm := func() *httptest.ResponseRecorder {
		return ask(h, "POST", "/cache/warm?bucket=photos&prefix=2026/%C3%BC", "Authorization", "Bearer "+token)
	}
	w := warm()
	require.Equal(t, 200, w.Code)
	require.Equal(t, "{\"done\":true}\n", w.Body.String())
	told = 2
	require.Equal(t, "{\"objects\":0}\n{\"objects\":1}\n{\"done\":true}\n", warm().Body.String())
	failure = &Refusal{409, "busy"}
	w = warm()
	require.Equal(t, 200, w.Code)
	require.Equal(t, "{\"objects\":0}\n{\"objects\":1}\n{\"error\":\"busy\"}\n", w.Body.String())
	told = 0
	w = warm()
	require.Equal(t, 409, w.Code)
	require.JSONEq(t, `{"error":"busy"}`, w.Body.String())
	require.Equal(t, 409, ask(h, "GET", "/cache").Code)
	failure = errors.New("the drive")
	require.Equal(t, 500, warm().Code)
	require.Equal(t, 401, ask(h, "POST", "/cache/warm?bucket=photos").Code)
	require.Equal(t, 404, ask(handler(nil), "POST", "/cache/warm?bucket=photos").Code, "where there is no cache")
}
