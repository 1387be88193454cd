package engine_test

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/disk"
)

// What is missing is named: of a copy's source, not of its destination.
func TestMissingSourceIsNamed(t *testing.T) {
	w := openWire(t, disk.NewMemory(1), nil)
	w.must(200, "PUT", "/here", nil)
	w.must(200, "PUT", "/here/key", []byte("x"))
	for source, want := range map[string][3]string{
		"gone/a": {"NoSuchBucket", "gone", "a"}, "here/gone%20b": {"NoSuchKey", "here", "gone b"}, "here/key?versionId=0000000000002": {"NoSuchVersion", "here", "key"},
	} {
		r, err := http.NewRequest("PUT", w.server.URL+"/here/to", bytes.NewReader(nil))
		require.NoError(t, err)
		r.Header.Set("X-Amz-Copy-Source", source)
		w.signer.Sign(r, sign.HashOf(nil), time.Now())
		resp, err := w.server.Client().Do(r)
		require.NoError(t, err)
		var got struct{ Code, BucketName, Key string }
		require.NoError(t, xml.NewDecoder(resp.Body).Decode(&got))
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, [3]string{got.Code, got.BucketName, got.Key}, source)
	}
}
