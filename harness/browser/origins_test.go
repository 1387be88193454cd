package browser

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/sign"
)

const accessKey, secretKey = "pagespages", "pagespagespages"

// buildCairn returns the server's binary.
func buildCairn(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "cairn")
	build := exec.Command("go", "build", "-o", binary, "./cmd/cairn")
	build.Dir = filepath.Join("..", "..")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// cairn starts a server with a bucket, and returns its address.
func cairn(t *testing.T, binary string, args ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	server := exec.Command(binary, append([]string{"server", "--data", t.TempDir(), "--address", address, "--admin-address", "off"}, args...)...)
	server.Env = append(os.Environ(), "CAIRN_ROOT_USER="+accessKey, "CAIRN_ROOT_PASSWORD="+secretKey)
	log, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	})
	lines := bufio.NewScanner(log)
	for lines.Scan() && !strings.Contains(lines.Text(), `"msg":"serving"`) {
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // or its log would fill up, and it wait
	r, err := http.NewRequest("PUT", "http://"+address+"/photos", nil)
	require.NoError(t, err)
	signer.Sign(r, sign.EmptyPayload, time.Now())
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, 200, answer.StatusCode)
	return address
}

var signer = sign.New(accessKey, secretKey, "us-east-1")

func presigned(t *testing.T, method, url string) string {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	require.NoError(t, err)
	return signer.Presign(r, time.Hour, time.Now()).String()
}

// A page of another origin puts and gets by presigned URLs, and reads what it must know
// of the answers, where its origin is let in; and nowhere else.
func TestPagesOfOtherOriginsInABrowser(t *testing.T) {
	ctx, binary := browser(t), buildCairn(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>another origin</title>"))
	}))
	t.Cleanup(page.Close)
	for _, c := range []struct {
		args []string
		in   bool
	}{{nil, true}, {[]string{"--cors-allow-origin", page.URL}, true}, {[]string{"--cors-allow-origin", "https://else.example.com"}, false}, {[]string{"--cors-allow-origin", "off"}, false}} {
		url := "http://" + cairn(t, binary, c.args...) + "/photos/a picture"
		url = strings.ReplaceAll(url, " ", "%20")
		script := fmt.Sprintf(`window.said = ""; (async () => {
  const put = await fetch(%q, {method: "PUT", headers: {"Content-Type": "text/x-page"}, body: "from a page"});
  const got = await fetch(%q);
  const missing = await fetch(%q);
  return [put.status, put.headers.get("etag").length, got.status, await got.text(), got.headers.get("etag") == put.headers.get("etag"),
    got.headers.get("x-amz-request-id").length > 0, missing.status, (await missing.text()).includes("NoSuchKey")].join(" ");
})().then(s => window.said = s, e => window.said = "refused: " + e); true`, presigned(t, "PUT", url), presigned(t, "GET", url), presigned(t, "GET", url+"-missing"))
		require.NoError(t, chromedp.Do(ctx, chromedp.Navigate(page.URL)))
		_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](script))
		require.NoError(t, err)
		said := ""
		require.Eventually(t, func() bool {
			said, err = chromedp.Run(ctx, chromedp.Evaluate[string]("window.said"))
			return err == nil && said != ""
		}, 30*time.Second, 50*time.Millisecond)
		if c.in {
			require.Equal(t, "200 34 200 from a page true true 404 true", said, "%v", c.args)
		} else {
			require.Contains(t, said, "refused: TypeError", "%v", c.args)
		}
	}
}
