package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// startUnread runs a server whose log goes into w, and waits until it serves.
func startUnread(t *testing.T, w *os.File) *process {
	t.Helper()
	dir := t.TempDir()
	cmd := cairn(serverOn(dir, []string{"--access-log", "--metrics-public"})...)
	cmd.Stdout = w
	p := launch(t, dir, nil, cmd)
	require.NoError(t, w.Close())
	require.Eventually(t, func() bool {
		_, rest, _ := strings.Cut(p.errOut.String(), "Cairn serves S3 on http://")
		var serves bool
		p.address, _, serves = strings.Cut(rest, ",")
		return serves
	}, 20*time.Second, 5*time.Millisecond)
	return p
}

// Requests are answered while nobody reads the log, and signals are heeded.
func TestALogReaderThatStandsStillHoldsNobodyUp(t *testing.T) {
	for _, signals := range []int{1, 2} {
		t.Run(fmt.Sprint(signals, " signals"), func(t *testing.T) {
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer r.Close()
			_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
			p := startUnread(t, w)
			keys := p.keys()
			for range 50 { // far more than the pipe holds
				status, _ := p.do(keys, "GET", "/", nil)
				require.Equal(t, 200, status)
			}
			if signals == 2 {
				hang(t, p)
			}
			began := time.Now()
			p.signal(syscall.SIGTERM)
			want := exitOK
			if signals == 2 {
				time.Sleep(2 * sameStop)
				p.signal(syscall.SIGTERM)
				want = exitFailure
			}
			require.Equal(t, want, p.exit())
			require.Less(t, time.Since(began), 5*time.Second)
		})
	}
}

// A log reader that has what it wanted, as head has, ends no server.
func TestALogThatIsClosed(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	p := startUnread(t, w)
	require.NoError(t, r.Close())
	keys := p.keys()
	for range 3 {
		status, _ := p.do(keys, "GET", "/", nil)
		require.Equal(t, 200, status)
	}
	require.Eventually(t, func() bool {
		_, text := p.get(url(p.address, "/metrics"))
		return strings.Contains(text, "\ncairn_log_lines_dropped_total ") && !strings.Contains(text, "\ncairn_log_lines_dropped_total 0")
	}, 5*time.Second, 10*time.Millisecond)
	p.stop()
}

// The last line of a failed start is in the log, and before it what came before.
func TestTheLogHasItsLastLine(t *testing.T) {
	file := write(t, t.TempDir(), "file", "")
	got := runCairn(t, "server", "--data", filepath.Join(file, "in"), "--address", "127.0.0.1:0", "--admin-address", "off")
	require.Equal(t, exitFailure, got.code)
	var last string
	for in := bufio.NewScanner(strings.NewReader(got.out)); in.Scan(); {
		last = in.Text()
	}
	require.Contains(t, last, `"msg":"the server ends"`)
}
