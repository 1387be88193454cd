package target

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The test binary is the server too: TARGET_TEST_SERVER says how it behaves.
func TestMain(m *testing.M) {
	if behaviour := os.Getenv("TARGET_TEST_SERVER"); behaviour != "" {
		serve(behaviour)
		return
	}
	goleak.VerifyTestMain(m)
}

func serve(behaviour string) {
	fmt.Println("behaviour:", behaviour)
	if behaviour == "broken" {
		fmt.Println("no drive there")
		os.Exit(3)
	}
	if tries, ok := strings.CutPrefix(behaviour, "taken:"); ok { // its port is, the first two times
		b, _ := os.ReadFile(tries)
		_ = os.WriteFile(tries, append(b, '.'), 0o600)
		if len(b) < 2 {
			fmt.Println("listen tcp: bind: address already in use")
			os.Exit(1)
		}
	}
	if behaviour == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	start := time.Now()
	_ = http.ListenAndServe(os.Args[len(os.Args)-1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/never" || r.URL.Path == "/ready" && time.Since(start) < 200*time.Millisecond {
			w.WriteHeader(503)
		}
		if r.URL.Path == "/metrics" {
			fmt.Fprint(w, "# HELP moved_total Bytes.\nmoved_total{of=\"else\"} 1\nmoved_total_of 2\nmoved_total 1.5e+06\n")
		}
	}))
}

func launch(t *testing.T, behaviour string) Launch {
	t.Helper()
	address, err := FreeAddress()
	require.NoError(t, err)
	return Launch{Name: "server", Binary: os.Args[0], Args: []string{address}, Env: []string{"TARGET_TEST_SERVER=" + behaviour},
		Address: address, Ready: "/ready", LogDir: t.TempDir()}
}

func TestCounterIsTheServersOwn(t *testing.T) {
	l := launch(t, "good")
	l.Admin = l.Address
	p, err := Start(t.Context(), nil, l)
	require.NoError(t, err)
	defer p.Kill()
	v, err := p.Counter(t.Context(), "moved_total")
	require.NoError(t, err)
	require.Equal(t, 1.5e6, v)
	_, err = p.Counter(t.Context(), "moved")
	require.ErrorContains(t, err, "server has no counter moved at "+l.Address+"/metrics (200 OK)")
}

func TestProcessIsReadyWhenStartReturnsAndGoneWhenStopDoes(t *testing.T) {
	l := launch(t, "good")
	start := time.Now()
	p, err := Start(t.Context(), nil, l)
	require.NoError(t, err)
	require.Greater(t, time.Since(start), 200*time.Millisecond)
	s, err := p.Sample()
	require.NoError(t, err)
	require.Positive(t, s.RSS)
	require.NoError(t, p.Stop())
	_, err = net.Dial("tcp", p.Address())
	require.Error(t, err)
	require.ErrorContains(t, p.Stop(), "had ended before it was stopped")
}

func TestAConnectionIsEnoughWithoutAReadyPath(t *testing.T) {
	l := launch(t, "good")
	l.Ready = ""
	p, err := Start(t.Context(), nil, l)
	require.NoError(t, err)
	require.NoError(t, p.Stop())
}

func TestAServerThatEndsAtOnceIsToldWithItsLastWords(t *testing.T) {
	_, err := Start(t.Context(), nil, launch(t, "broken"))
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "no drive there")
}

func TestAPortThatWasTakenMeanwhileIsAnotherNextTime(t *testing.T) {
	tries := filepath.Join(t.TempDir(), "tries")
	var asked []string
	s := Server{Name: "server", Binary: os.Args[0], Ready: "/ready", Command: func(_, address string, _ Credentials) (args, env []string) {
		asked = append(asked, address)
		return []string{address}, []string{"TARGET_TEST_SERVER=taken:" + tries}
	}}
	p, err := s.Start(t.Context(), filepath.Join(t.TempDir(), "data"), Credentials{})
	require.NoError(t, err)
	require.Len(t, asked, 3)
	require.Equal(t, asked[2], p.Address())
	require.NoError(t, p.Stop())

	s.Command = func(string, string, Credentials) (args, env []string) {
		return []string{"127.0.0.1:0"}, []string{"TARGET_TEST_SERVER=broken"}
	}
	_, err = s.Start(t.Context(), filepath.Join(t.TempDir(), "data"), Credentials{})
	require.ErrorContains(t, err, "no drive there")
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	l := launch(t, "good")
	l.Ready = "/never"
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, nil, l)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestKillEndsWhatIgnoresSIGTERM(t *testing.T) {
	p, err := Start(t.Context(), nil, launch(t, "stubborn"))
	require.NoError(t, err)
	require.NoError(t, p.job.Signal(syscall.SIGTERM))
	select {
	case <-p.Ended():
		t.Fatal("it should have ignored SIGTERM")
	case <-time.After(200 * time.Millisecond):
	}
	p.Kill()
	<-p.Ended()
}
