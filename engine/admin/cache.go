package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
)

// A Refusal is an error with the HTTP status that says it.
type Refusal struct {
	Status int
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if r := (*Refusal)(nil); errors.As(err, &r) {
		status = r.Status
	}
	answer(w, status, map[string]string{"error": err.Error()})
}

// cache answers what the cache tells of itself.
func (h *Handler) cache(w http.ResponseWriter, _ *http.Request) {
	report, err := h.o.Cache()
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(report)
}

// warm answers lines of JSON while it works, and ends with the last one; with a
// line that has an error, if it came to that after the first. Who hangs up ends the work.
func (h *Handler) warm(w http.ResponseWriter, r *http.Request) {
	bucket, prefix := r.URL.Query().Get("bucket"), r.URL.Query().Get("prefix")
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	case h.o.AdminToken == "" || !sameSecret(bearer(r), h.o.AdminToken):
		w.Header().Set("WWW-Authenticate", `Bearer realm="admin"`)
		answer(w, http.StatusUnauthorized, map[string]string{"error": "needs the admin token as a bearer token: cairn credentials show --admin-token"})
		return
	case bucket == "":
		answer(w, http.StatusBadRequest, map[string]string{"error": "which bucket? as in /cache/warm?bucket=photos&prefix=2026/"})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	lines := &lines{w: w, gone: cancel}
	last, err := h.o.Warm(ctx, bucket, prefix, lines.write)
	if err != nil && !lines.begun() {
		refuse(w, err)
		return
	}
	if err != nil {
		lines.write(map[string]string{"error": err.Error()})
		return
	}
	lines.write(last)
}

// lines writes JSON, a line each, as it comes.
type lines struct {
	w    http.ResponseWriter
	gone func() // called when the client is

	mu struct {
		sync.Mutex
		begun bool
	}
}

func (l *lines) begun() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.begun
}

func (l *lines) write(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.begun {
		l.mu.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.Header().Set("Cache-Control", "no-store")
	}
	if json.NewEncoder(l.w).Encode(v) != nil || http.NewResponseController(l.w).Flush() != nil {
		l.gone()
	}
}
