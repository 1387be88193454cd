package s3

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/engine/listen"
)

// TestStrangersHoldNoPlaces: who has not signed, and neither sends the body nor reads the
// answer, keeps nobody from being served. The path is in the answer, which is more than
// the connection holds back.
func TestStrangersHoldNoPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		ampersands, times int
		head              string
	}{
		"the body does not come": {6000, 1, "Content-Length: 1000\r\n"},
		"the answer is not read": {30_000, 40, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := auth.New(auth.Options{Secret: func(k string) (string, bool) { return "secretsecret", k == "AK" }})
			require.NoError(t, err)
			h := newTestHandler(t, newFake("b"), func(o *Options) { o.MaxConcurrent, o.Auth = 1, v })
			s, err := listen.Listen(context.Background(), listen.Options{Address: "127.0.0.1:0", Handler: h})
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- s.Serve() }()
			defer func() { _ = s.Close(); <-served }()
			stranger, err := net.Dial("tcp", s.Addr().String())
			require.NoError(t, err)
			defer stranger.Close()
			require.NoError(t, stranger.(*net.TCPConn).SetReadBuffer(4096))
			request := fmt.Sprintf("PUT /b/%s HTTP/1.1\r\nHost: x\r\n%s\r\n", strings.Repeat("&", c.ampersands), c.head)
			go func() { _, _ = stranger.Write([]byte(strings.Repeat(request, c.times))) }()
			time.Sleep(200 * time.Millisecond) // until it stands still
			// A request of the stranger's may be at the place just now, but none stays.
			require.Eventually(t, func() bool {
				r, err := http.NewRequest("HEAD", "http://"+s.Addr().String()+"/b", nil)
				require.NoError(t, err)
				sign.New("AK", "secretsecret", "us-east-1").Sign(r, sign.HashOf(nil), time.Now())
				resp, err := http.DefaultClient.Do(r)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				return resp.StatusCode == 200
			}, 5*time.Second, 20*time.Millisecond)
		})
	}
}
