package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	neturl "net/url"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

// A content is what a key may hold, told by few numbers, so that a journal of
// all that was acknowledged is small. Zero: nothing.
type content struct {
	seed uint64
	size int
}

func (c content) bytes() []byte {
	b := make([]byte, c.size)
	r := rand.NewChaCha8([32]byte{byte(c.seed), byte(c.seed >> 8), byte(c.seed >> 16), byte(c.seed >> 24), byte(c.seed >> 32)})
	_, _ = r.Read(b)
	return b
}

// A line of the journal says what a key must hold after a kill: what was
// acknowledged last, or what was asked for since and not answered.
type line struct {
	acknowledged content
	asked        *content
}

// A writer owns some keys, and asks one thing after the other of them.
type writer struct {
	p       *process
	keys    []string
	journal map[string]*line
	rnd     *rand.Rand
	seed    uint64
	client  *http.Client
	signer  *sign.Signer

	operations int // acknowledged, of all cycles
}

const killBucket = "/crash"

func newWriter(id int, seed uint64, keys int) *writer {
	w := &writer{journal: make(map[string]*line), rnd: rand.New(rand.NewPCG(seed, uint64(id))), seed: uint64(id) << 32}
	w.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	for i := range keys {
		key := fmt.Sprintf("w%d/%03d", id, i)
		w.keys = append(w.keys, key)
		w.journal[key] = &line{}
	}
	return w
}

// request answers with the status, or an error if the server went away.
func (w *writer) request(method, path string, body []byte) (int, []byte, error) {
	r, err := http.NewRequest(method, url(w.p.address, killBucket+path), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	w.signer.Sign(r, sign.HashOf(body), time.Now())
	resp, err := w.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

var errRefused = errors.New("the server refused")

// step changes one key, and notes in the journal what it asked and heard.
func (w *writer) step() error {
	key := w.keys[w.rnd.IntN(len(w.keys))]
	l := w.journal[key]
	var next content
	kind := w.rnd.IntN(20)
	if kind > 3 { // else a delete
		w.seed++
		next = content{seed: w.seed, size: 1 + w.rnd.IntN(8<<10)}
	}
	if kind == 19 {
		next.size = 300<<10 + w.rnd.IntN(1<<20) // past what lies in the log with its record
	}
	l.asked = &next
	var err error
	switch {
	case next == content{}:
		err = w.expect(204, "DELETE", "/"+key, nil)
	case kind == 18:
		err = w.multipart(key, next)
	default:
		err = w.expect(200, "PUT", "/"+key, next.bytes())
	}
	if err != nil {
		return err // what was asked stays in doubt
	}
	l.acknowledged, l.asked = next, nil
	w.operations++
	return nil
}

func (w *writer) expect(status int, method, path string, body []byte) error {
	got, text, err := w.request(method, path, body)
	if err == nil && got != status {
		return fmt.Errorf("%w: %s %s: %d %s", errRefused, method, path, got, text)
	}
	return err
}

func (w *writer) multipart(key string, c content) error {
	status, text, err := w.request("POST", "/"+key+"?uploads", nil)
	if err != nil || status != 200 {
		return errors.Join(err, statusError(status))
	}
	var created struct{ UploadId string }
	if err := xml.Unmarshal(text, &created); err != nil {
		return err
	}
	upload := "/" + key + "?uploadId=" + neturl.QueryEscape(created.UploadId)
	if err := w.expect(200, "PUT", upload+"&partNumber=1", c.bytes()); err != nil {
		return err
	}
	// The ETag of a part is its MD5; ask for it rather than compute it.
	status, text, err = w.request("GET", upload, nil)
	if err != nil || status != 200 {
		return errors.Join(err, statusError(status))
	}
	var parts struct{ Part []struct{ ETag string } }
	if err := xml.Unmarshal(text, &parts); err != nil || len(parts.Part) != 1 {
		return fmt.Errorf("%w: parts %s: %w", errRefused, text, err)
	}
	return w.expect(200, "POST", upload, fmt.Appendf(nil,
		"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part></CompleteMultipartUpload>", parts.Part[0].ETag))
}

func statusError(status int) error {
	if status == 200 || status == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d", errRefused, status)
}

// verify reads every key: it holds what was acknowledged, or what was asked
// for and not answered, and nothing else. What is found is certain from now on.
func (w *writer) verify() error {
	for _, key := range w.keys {
		l := w.journal[key]
		status, got, err := w.request("GET", "/"+key, nil)
		if err != nil {
			return err
		}
		found := func(c content) bool {
			if c == (content{}) {
				return status == 404
			}
			return status == 200 && bytes.Equal(got, c.bytes())
		}
		switch {
		case found(l.acknowledged):
		case l.asked != nil && found(*l.asked):
			l.acknowledged = *l.asked
		default:
			return fmt.Errorf("%s: status %d with %d bytes is neither what was acknowledged, %+v, nor what was asked since, %+v", key, status, len(got), l.acknowledged, l.asked)
		}
		l.asked = nil
	}
	return nil
}

// The real store on the real drive, killed under load again and again, by a
// client that keeps a journal of what was acknowledged. A kill leaves what the
// system has in memory; the loss of that is the crash tests' of engine/store.
func TestKillCycles(t *testing.T) {
	cycles := 50
	switch {
	case os.Getenv("CAIRN_SOAK") != "":
		cycles = 1000
	case testing.Short():
		cycles = 5
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))

	dir := t.TempDir()
	keys := credentials.Pair{AccessKey: "crash", SecretKey: "crash test"}
	env := []string{"CAIRN_ROOT_USER=" + keys.AccessKey, "CAIRN_ROOT_PASSWORD=" + keys.SecretKey}
	writers := make([]*writer, 8)
	for i := range writers {
		writers[i] = newWriter(i, seed, 24)
		writers[i].signer = sign.New(keys.AccessKey, keys.SecretKey, "us-east-1")
	}
	// all runs f for all writers at once and returns their errors.
	all := func(f func(*writer) error) error {
		errs := make([]error, len(writers))
		var wg sync.WaitGroup
		for i, w := range writers {
			wg.Go(func() { errs[i] = f(w) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}

	var slowest time.Duration
	for cycle := range cycles {
		if cycle%5 == 4 { // a recovery that is killed itself
			p := begin(t, dir, env, "--admin-address", "off")
			time.Sleep(time.Duration(rnd.IntN(80)) * time.Millisecond)
			p.kill()
		}
		began := time.Now()
		p := start(t, dir, env, "--admin-address", "off")
		slowest = max(slowest, time.Since(began))
		if cycle == 0 {
			status, _ := p.do(keys, "PUT", killBucket, nil)
			require.Equal(t, 200, status)
		}
		for _, w := range writers {
			w.p = p
			w.client.CloseIdleConnections()
		}
		require.NoError(t, all((*writer).verify), "cycle %d", cycle)
		requireListed(t, writers)

		time.AfterFunc(time.Duration(50+rnd.IntN(300))*time.Millisecond, func() { _ = p.cmd.Process.Signal(syscall.SIGKILL) })
		err := all(func(w *writer) error {
			for {
				if err := w.step(); err != nil {
					return err
				}
			}
		})
		require.NotErrorIs(t, err, errRefused, "cycle %d", cycle)
		p.exit()
	}
	total := 0
	for _, w := range writers {
		total += w.operations
		w.client.CloseIdleConnections()
	}
	t.Logf("%d kills, %d acknowledged operations, slowest start %v", cycles, total, slowest)
	require.Greater(t, total, cycles*10, "there was load to speak of")
	require.Less(t, slowest, 10*time.Second)
}

// requireListed: what is readable is listed, and the reverse.
func requireListed(t *testing.T, writers []*writer) {
	t.Helper()
	status, text, err := writers[0].request("GET", "?list-type=2&max-keys=1000", nil)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	var page struct {
		Contents []struct {
			Key  string
			Size int
		}
	}
	require.NoError(t, xml.Unmarshal(text, &page))
	listed := make(map[string]int)
	for _, c := range page.Contents {
		listed[c.Key] = c.Size
	}
	readable := make(map[string]int)
	for _, w := range writers {
		for key, l := range w.journal {
			if l.acknowledged != (content{}) {
				readable[key] = l.acknowledged.size
			}
		}
	}
	require.Equal(t, readable, listed)
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}
