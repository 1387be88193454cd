//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waits are the calls with which Go's runtime waits and wakes its threads.
var waits = map[string]bool{
	"futex": true, "epoll_pwait": true, "nanosleep": true, "clock_nanosleep": true, "sched_yield": true, "tgkill": true, "getpid": true,
	"rt_sigreturn": true, "rt_sigprocmask": true, "restart_syscall": true,
}

// A GET of a hot small object costs a read and a write of its socket, and one more
// read that finds nothing and waits. Nothing else is asked of the system: no file,
// no memory, no clock.
func TestAHotGetIsItsSocketAlone(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		missing(t, "strace is not installed; ci/setup installs it")
	}
	if testing.Short() {
		t.Skip("a traced process is slow")
	}
	p := start(t, t.TempDir(), nil)
	k := p.keys()
	body := bytes.Repeat([]byte("hot "), 1024)
	status, text := p.do(k, "PUT", "/bucket", nil)
	require.Equal(t, 200, status, text)
	status, text = p.do(k, "PUT", "/bucket/key", body)
	require.Equal(t, 200, status, text)
	get := func(n int) {
		for range n {
			status, text := p.do(k, "GET", "/bucket/key", nil)
			require.Equal(t, 200, status)
			require.Equal(t, string(body), text)
		}
	}
	get(50)

	out := filepath.Join(t.TempDir(), "calls")
	trace := exec.Command(strace, "-f", "-qq", "-y", "-o", out, "-p", strconv.Itoa(p.cmd.Process.Pid))
	var complaints bytes.Buffer
	trace.Stderr = &complaints
	require.NoError(t, trace.Start())
	attached := func() bool { // a call is seen as soon as strace is there
		get(1)
		b, _ := os.ReadFile(out)
		return bytes.Contains(b, []byte("write("))
	}
	if !eventually(attached, 10*time.Second) {
		_ = trace.Process.Kill()
		_ = trace.Wait()
		missing(t, "strace may not look into a process here: "+complaints.String())
	}
	const n = 400
	get(n)
	require.NoError(t, trace.Process.Signal(os.Interrupt))
	_ = trace.Wait()

	calls, err := os.ReadFile(out)
	require.NoError(t, err)
	line := regexp.MustCompile(`^\d+ +(\w+)\((\d+<([^>]*)>)?`)
	seen := map[string]int{}
	for text := range strings.Lines(string(calls)) {
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue // a signal, or the end of a call that was begun on another line
		}
		switch name, of := m[1], m[3]; {
		case strings.HasPrefix(of, "socket:") || strings.HasPrefix(of, "TCP"):
			seen[name+" of a socket"]++
		case waits[name] || strings.Contains(of, "eventfd"):
			seen["waiting"]++
		default:
			seen[name+" of "+of]++
		}
	}
	t.Logf("%d GETs: %v", n, seen)
	sent, received := seen["write of a socket"], seen["read of a socket"]
	require.GreaterOrEqual(t, sent, n)
	require.Less(t, sent, n+n/4)
	require.Less(t, received, 2*n+n/2)
	// What the server does once in a while, whether or not somebody reads, is not the GETs',
	// and there is more of it the longer they take. The log's next segment is being filled
	// with zeros meanwhile, and the cache's memory comes in by calls of madvise.
	for what, times := range seen {
		call, of, _ := strings.Cut(what, " of ")
		switch inLog := strings.HasSuffix(of, ".seg"); {
		case what == "waiting" || of == "a socket" || call == "madvise" || inLog && call == "pwrite64":
		case inLog && strings.HasPrefix(call, "pread"):
			require.Fail(t, "a hot body was read from the log", "%s: %d times", what, times)
		default:
			require.Less(t, times, n/2, "%s with hot GETs", what)
		}
	}
}

func eventually(done func() bool, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}
