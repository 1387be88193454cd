package main

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/telemetry"
)

// quiet is a server whose log nobody reads.
func quiet() *server {
	return &server{log: slog.New(slog.DiscardHandler), lines: telemetry.NewLines(io.Discard)}
}

// A signal that comes while the store is being opened ends the process at once: it
// has acknowledged nothing, and what it was at may be killed at any point.
func TestSignalWhileOpening(t *testing.T) {
	if os.Getenv("OPEN_FOR_LONG") != "" {
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, syscall.SIGTERM)
		quiet().whileOpening(signals)
		_, _ = os.Stdout.WriteString("opening\n")
		time.Sleep(time.Minute)
		os.Exit(9)
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe, "-test.run", "^TestSignalWhileOpening$")
	cmd.Env = append(os.Environ(), "OPEN_FOR_LONG=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	buf := make([]byte, 8)
	_, err = out.Read(buf)
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "exit code 0")
}

// Once the store is open a signal is the server's again.
func TestSignalAfterOpening(t *testing.T) {
	signals := make(chan os.Signal, 2)
	opened := quiet().whileOpening(signals)
	opened()
	signals <- syscall.SIGTERM
	require.Len(t, signals, 1)
}
