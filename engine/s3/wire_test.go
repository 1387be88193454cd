package s3

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata/wire from what is answered")

// TestWire holds the wire to the exchanges in testdata/wire: requests as they
// stand on the wire, each followed by its answer.
//
//	# why
//	> PUT /b/key HTTP/1.1
//	> Host: s3.local
//	>
//	> body
//	< 200
//	< ETag: "…"
//	<
//	< body
//
// $MD5 in a header is the body's Content-MD5. Content-Length is added where the
// request has none and a body. Request and host IDs are left out of answers.
func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/wire/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			server := newTestServer(t, newFake("b", "other"))
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			var got strings.Builder
			for _, e := range parseExchanges(string(text)) {
				got.WriteString(e.comment)
				for _, l := range e.request {
					fmt.Fprintln(&got, strings.TrimRight("> "+l, " "))
				}
				answer := exchange(t, server.Listener.Addr().String(), e)
				got.WriteString(answer)
				got.WriteString("\n")
			}
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(got.String()), 0o644))
				return
			}
			require.Equal(t, string(text), got.String())
		})
	}
}

type wireExchange struct {
	comment string
	request []string
}

func parseExchanges(text string) (all []wireExchange) {
	var e wireExchange
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, ">"):
			e.request = append(e.request, strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "))
		case strings.HasPrefix(line, "<"), line == "":
			if e.request != nil {
				all = append(all, e)
				e = wireExchange{}
			}
		default:
			if e.request != nil {
				all = append(all, e)
				e = wireExchange{}
			}
			e.comment += line + "\n"
		}
	}
	if e.request != nil {
		all = append(all, e)
	}
	return all
}

func exchange(t *testing.T, addr string, e wireExchange) string {
	t.Helper()
	head, body, inBody, sized := "", "", false, false
	for _, l := range e.request {
		switch {
		case inBody && body == "":
			body = l
		case inBody:
			body += "\r\n" + l
		case l == "":
			inBody = true
		default:
			head += l + "\r\n"
			low := strings.ToLower(l)
			sized = sized || strings.HasPrefix(low, "content-length:") || strings.HasPrefix(low, "transfer-encoding:")
		}
	}
	if inBody && !sized {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	head = strings.ReplaceAll(head, "$MD5", md5Base64(body))
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = io.WriteString(conn, head+"\r\n"+body)
	require.NoError(t, err)
	method, _, _ := strings.Cut(e.request[0], " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	require.NoError(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "Cairn", resp.Header.Get("Server"))
	require.Regexp(t, "^[0-9A-F]{16}$", resp.Header.Get("X-Amz-Request-Id"))
	require.NotEmpty(t, resp.Header.Get("X-Amz-Id-2"))
	return renderAnswer(resp, got)
}

var requestIDs = regexp.MustCompile(`<RequestId>[0-9A-F]{16}</RequestId><HostId>[^<]+</HostId>`)

// renderAnswer leaves out what differs from run to run and what every answer has.
func renderAnswer(resp *http.Response, body []byte) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "< %d\n", resp.StatusCode)
	var lines []string
	for name, values := range resp.Header {
		switch name {
		case "Date", "Server", "X-Amz-Request-Id", "X-Amz-Id-2":
			continue
		case "Content-Length":
			if len(body) > 0 {
				continue
			}
		}
		for _, v := range values {
			lines = append(lines, fmt.Sprintf("< %s: %s\n", name, v))
		}
	}
	sort.Strings(lines)
	b.WriteString(strings.Join(lines, ""))
	if len(body) > 0 {
		text := requestIDs.ReplaceAllString(string(body), "")
		text = strings.ReplaceAll(text, "><", ">\n<")
		b.WriteString("<\n")
		for _, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			b.WriteString("< " + l + "\n")
		}
	}
	return b.String()
}
