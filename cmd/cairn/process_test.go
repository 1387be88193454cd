package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

// asCairn makes the test binary be the program: the tests then run a real
// process, with signals and exit codes, of exactly the code under test.
const asCairn = "BE_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asCairn) != "" {
		main()
	}
	os.Exit(m.Run())
}

// cairn is the program as a command, with nothing of this test's environment that sets it.
func cairn(args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = []string{asCairn + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR")}
	return cmd
}

// ran is how a command that ends by itself ended.
type ran struct {
	code        int
	out, errOut string
}

func runCairn(t *testing.T, args ...string) ran {
	t.Helper()
	cmd := cairn(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	_ = cmd.Run()
	return ran{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// output collects what a process writes while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(p) }
func (o *output) String() string              { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

// A process is a running server.
type process struct {
	t           *testing.T
	cmd         *exec.Cmd
	out, errOut output
	dir         string
	address     string // of S3
	admin       string // of health and metrics; empty when off
	exited      chan struct{}
	client      *http.Client
}

// start runs a server on dir and waits until it serves.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return begin(t, dir, env, args...).serving()
}

// serving waits until it is.
func (p *process) serving() *process {
	p.t.Helper()
	p.awaitLine(`"msg":"serving"`)
	// What it tells people comes right behind, on another pipe.
	require.Eventually(p.t, func() bool { return strings.Contains(p.errOut.String(), "Cairn serves S3 on ") }, 10*time.Second, time.Millisecond)
	p.address = p.logged("serving")
	if p.logHas("serving health and metrics") {
		p.admin = p.logged("serving health and metrics")
	}
	return p
}

// begin runs a server on dir, on ports that are free.
func begin(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return launch(t, dir, env, cairn(serverOn(dir, args)...))
}

func serverOn(dir string, args []string) []string {
	return append([]string{"server", "--data", dir, "--address", "127.0.0.1:0", "--admin-address", "127.0.0.1:0"}, args...)
}

// launch runs cmd, which becomes a server on dir.
func launch(t *testing.T, dir string, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, dir: dir, cmd: cmd, exited: make(chan struct{}), client: &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 20 * time.Second}}
	p.cmd.Env = append(p.cmd.Env, env...)
	if p.cmd.Stderr = &p.errOut; p.cmd.Stdout == nil {
		p.cmd.Stdout = &p.out
	}
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		p.client.CloseIdleConnections()
		if t.Failed() {
			t.Logf("log:\n%s\nstderr:\n%s", p.out.String(), p.errOut.String())
		}
	})
	return p
}

func (p *process) awaitLine(text string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		select {
		case <-p.exited:
			return true
		default:
		}
		return strings.Contains(p.out.String(), text)
	}, 20*time.Second, 5*time.Millisecond)
	require.Contains(p.t, p.out.String(), text)
}

func (p *process) lines(msg string) (found []map[string]any) {
	for line := range strings.Lines(p.out.String()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == msg {
			found = append(found, m)
		}
	}
	return found
}

func (p *process) logHas(msg string) bool { return len(p.lines(msg)) > 0 }

// logged is the address of a log line.
func (p *process) logged(msg string) string {
	p.t.Helper()
	l := p.lines(msg)
	require.NotEmpty(p.t, l)
	return l[0]["address"].(string)
}

func (p *process) signal(s os.Signal) { require.NoError(p.t, p.cmd.Process.Signal(s)) }

// exit waits for the end and returns its code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.t.Fatal("the process does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) keys() credentials.Pair {
	p.t.Helper()
	k, err := credentials.Load(p.dir)
	require.NoError(p.t, err)
	return k
}

// do sends one signed request and returns its status and body.
func (p *process) do(k credentials.Pair, method, path string, body []byte) (int, string) {
	p.t.Helper()
	r, err := http.NewRequest(method, "http://"+p.address+path, bytes.NewReader(body))
	require.NoError(p.t, err)
	sign.New(k.AccessKey, k.SecretKey, "us-east-1").Sign(r, sign.HashOf(body), time.Now())
	return p.send(r)
}

func (p *process) get(url string, header ...string) (int, string) {
	p.t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	require.NoError(p.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return p.send(r)
}

func (p *process) send(r *http.Request) (int, string) {
	p.t.Helper()
	resp, err := p.client.Do(r)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return resp.StatusCode, string(text)
}

func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	require.Equal(p.t, exitOK, p.exit(), p.errOut.String())
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	name = filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func url(address, path string) string { return fmt.Sprintf("http://%s%s", address, path) }
