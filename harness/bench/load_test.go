package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/load"
)

// A load that a server refuses altogether has a record, and is no success.
func TestALoadOfFailuresIsAnError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Count(r.URL.Path, "/") > 1 && strings.Trim(r.URL.Path, "/") != "bucket" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	o := LoadOptions{
		Target: load.Target{Address: server.Listener.Addr().String()}, Bucket: "bucket", Mix: []load.Share{{Op: load.Put, Weight: 1}},
		Size: 100, Connections: 2, Duration: 100 * time.Millisecond,
	}
	rec, err := Load(t.Context(), o)
	require.ErrorContains(t, err, "none of")
	require.NotNil(t, rec)
	for _, m := range rec.Metrics {
		require.False(t, strings.HasPrefix(m.Name, "load.put.p") || m.Name == "load.put.max", "%s of no answer", m.Name)
	}
	o.Size = 1 << 62
	_, err = Load(t.Context(), o)
	require.ErrorContains(t, err, "objects of")
}
