package engine_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/listen"
)

// A body whose chunks are malformed is its client's fault, not the server's, and
// leaves what is stored as it was.
func TestMalformedChunksAreTheClientsFault(t *testing.T) {
	e, s := serve(t, engine.Options{}, listen.Options{})
	require.NoError(t, e.CreateBucket(ctx, "bucket"))
	for _, target := range []string{"/bucket/key", "/bucket?tagging"} {
		for _, body := range []string{"ZZ\r\n", "5\r\nhelloXX", "0\r\nno trailer\r\n\r\n"} {
			r, err := http.NewRequest("PUT", "http://"+s.Addr().String()+target, nil)
			require.NoError(t, err)
			r.Header.Set("X-Amz-Decoded-Content-Length", "5")
			sign.New("key", "secret123", "us-east-1").Sign(r, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", time.Now())
			c, err := net.Dial("tcp", s.Addr().String())
			require.NoError(t, err)
			_, err = fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n", target, r.Host)
			require.NoError(t, err)
			require.NoError(t, r.Header.Write(c))
			_, err = io.WriteString(c, "\r\n"+body)
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(c), r)
			require.NoError(t, err)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, 400, resp.StatusCode, "%s %q: %s", target, body, b)
			require.NoError(t, c.Close())
		}
	}
	_, err := e.Get(ctx, "bucket", "key")
	require.Error(t, err)
}
