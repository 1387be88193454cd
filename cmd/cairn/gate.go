package main

import (
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine"
)

// A gate stands before the engine's handler: the port is open before the
// engine has recovered, so that an orchestrator sees a live process that is not
// ready, and clients are told to come back rather than that nobody is there.
// At the end it knows when the last request is out, whose connection may have been cut off.
type gate struct {
	domains []string // under which names of hosts are buckets: all their paths are keys
	next    atomic.Pointer[http.Handler]
	inside  atomic.Int64
	refusal atomic.Pointer[refusal]
}

// A refusal answers what is no request.
type refusal func(status int, reason string) (http.Header, []byte)

func (g *gate) open(h http.Handler) { g.next.Store(&h) }

// refuse is a listener's Refusal: the one behind the gate, or plain text before it is open.
func (g *gate) refuse(status int, reason string) (http.Header, []byte) {
	if r := g.refusal.Load(); r != nil {
		return (*r)(status, reason)
	}
	return nil, nil
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.inside.Add(1)
	defer g.inside.Add(-1)
	if h := g.next.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	if g.live(r) {
		return
	}
	w.Header().Set("Retry-After", "1")
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(starting)))
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, starting)
}

const starting = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
	`<Error><Code>ServiceUnavailable</Code><Message>The server is starting. Please try again.</Message></Error>`

// live reports whether the request asks whether the process lives.
func (g *gate) live(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.URL.Path != "/health/live" && r.URL.Path != "/minio/health/live" {
		return false
	}
	return !engine.NamesBucket(g.domains, r.Host)
}

// emptied waits until no request is inside, for at most limit, and reports whether that is so.
func (g *gate) emptied(limit time.Duration) bool {
	for end := time.Now().Add(limit); g.inside.Load() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
