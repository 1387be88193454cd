package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
)

// Reserved are the bucket names that the paths of this package begin with. A
// bucket of such a name could not be told from them, so none may be created.
var Reserved = []string{"health", "metrics", "minio"}

// Options configure a Handler.
type Options struct {
	// Ready returns nil while requests can be served, and else why not. Needed.
	Ready func() error
	// Metrics serves the exposition. Needed.
	Metrics http.Handler
	// Token lets whoever sends it as a bearer token read /metrics on the S3
	// port; Public lets everybody. With neither, the S3 port refuses: request
	// counts and sizes say much about whoever's data it is.
	Token  string
	Public bool
	// AdminToken is the bearer token for what changes something; empty: nobody may.
	AdminToken string
	// Cache tells of the cache, as something that can be JSON. An error may be a
	// *Refusal. Nil: there is nothing at its path.
	Cache func() (any, error)
	// Warm brings a bucket's objects under a prefix into the cache, until ctx ends. It
	// calls progress, one call at a time, with what can be JSON. Nil as Cache.
	Warm func(ctx context.Context, bucket, prefix string, progress func(any)) (any, error)
	// Domains are those under which a bucket may be a host name; on such a
	// host every path is a key's.
	Domains []string
}

// A Handler serves health and metrics. Safe for concurrent use.
type Handler struct {
	o      Options
	paths  map[string]http.HandlerFunc // on the S3 port
	inside map[string]http.HandlerFunc // on the operators' own port
}

const longestPath = "/minio/health/cluster/read"

// New returns a handler for o.
func New(o Options) *Handler {
	h := &Handler{o: o}
	h.paths = map[string]http.HandlerFunc{
		"/health":               h.health,
		"/health/live":          h.live,
		"/health/ready":         h.health,
		"/minio/health/live":    h.minioLive,
		"/minio/health/ready":   h.minioReady,
		"/minio/health/cluster": h.minioReady, // one node is the whole cluster
		longestPath:             h.minioReady,
		"/metrics":              h.guardedMetrics,
	}
	h.inside = make(map[string]http.HandlerFunc, len(h.paths))
	for path, serve := range h.paths {
		h.inside[path] = serve
	}
	h.inside["/metrics"] = o.Metrics.ServeHTTP
	if o.Cache != nil {
		h.inside["/cache"] = h.cache
	}
	return h
}

// ServeHTTP serves the operators' own port, whose reach is its protection: /metrics needs no token.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve := h.inside[r.URL.Path]
	switch {
	case fromAPage(r):
		http.Error(w, "not for pages of other sites", http.StatusForbidden)
	case strings.HasPrefix(r.URL.Path, "/debug/pprof/"):
		profiles(w, r)
	case r.URL.Path == "/cache/warm" && h.o.Warm != nil:
		h.warm(w, r)
	case serve == nil:
		http.NotFound(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	default:
		serve(w, r)
	}
}

// fromAPage reports whether a browser asks for a page of another site: what an operator can
// reach, the pages that he reads must not.
func fromAPage(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return r.Header.Get("Origin") != "" || site == "cross-site" || site == "same-site"
}

// profiles serves what go tool pprof asks for. Only the operators' own port has
// it: a profile costs the server, and tells much.
func profiles(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/debug/pprof/") {
	case "profile":
		pprof.Profile(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}

// Beside serves the paths of this package and leaves all else to s3. A request
// that is signed, or names its bucket by host, is always S3's, whatever its path.
func (h *Handler) Beside(s3 http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if serve := h.claim(r); serve != nil {
			serve(w, r)
			return
		}
		s3.ServeHTTP(w, r)
	})
}

// claim is on the path of every S3 request, so what is rare is asked first.
func (h *Handler) claim(r *http.Request) http.HandlerFunc {
	if len(r.URL.Path) < len("/health") || len(r.URL.Path) > len(longestPath) {
		return nil
	}
	serve := h.paths[r.URL.Path]
	if serve == nil || (r.Method != http.MethodGet && r.Method != http.MethodHead) || signed(r) || h.bucketHost(r.Host) {
		return nil
	}
	return serve
}

func signed(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Authorization"), "AWS") ||
		strings.Contains(r.URL.RawQuery, "Signature=")
}

func (h *Handler) bucketHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for _, d := range h.o.Domains {
		if len(host) > len(d)+1 && strings.EqualFold(host[len(host)-len(d)-1:], "."+d) {
			return true
		}
	}
	return false
}

// health answers 200 when requests can be served, else 503 with the reason.
func (h *Handler) health(w http.ResponseWriter, _ *http.Request) {
	status, body := http.StatusOK, map[string]string{"status": "ok"}
	if err := h.o.Ready(); err != nil {
		status, body = http.StatusServiceUnavailable, map[string]string{"status": "unavailable", "reason": err.Error()}
	}
	answer(w, status, body)
}

// live answers 200 while the process answers at all: restarting it would not help whatever is wrong.
func (h *Handler) live(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func answer(w http.ResponseWriter, status int, body map[string]string) {
	b, _ := json.Marshal(body) // strings can be
	b = append(b, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// minioLive and minioReady answer without a body, as MinIO's probes are answered.
func (h *Handler) minioLive(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func (h *Handler) minioReady(w http.ResponseWriter, _ *http.Request) {
	if h.o.Ready() != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (h *Handler) guardedMetrics(w http.ResponseWriter, r *http.Request) {
	if h.o.Public || h.o.Token != "" && sameSecret(bearer(r), h.o.Token) {
		h.o.Metrics.ServeHTTP(w, r)
		return
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="metrics"`)
	http.Error(w, "metrics: needs the bearer token; or ask the admin address", http.StatusUnauthorized)
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// sameSecret compares digests, so that neither content nor length shows in the time.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
