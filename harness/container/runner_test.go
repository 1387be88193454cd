package container

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/target"
)

// A server that says who it is, writes into its data and obeys SIGTERM. It uses the
// network, so that it is linked with the system's library where there is a C compiler.
const server = `package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if os.Getenv("MODE") == "broken" {
		fmt.Println("no drive there")
		os.Exit(3)
	}
	if err := os.WriteFile(os.Args[1]+"/written", []byte(fmt.Sprint(os.Getuid())), 0o644); err != nil {
		panic(err)
	}
	go func() { panic(http.ListenAndServe(os.Args[2], nil)) }()
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}
`

func serverBinary(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(server), 0o600))
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "server"), filepath.Join(dir, "main.go")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(dir, "server")
}

func TestAServerIsATargetInAContainer(t *testing.T) {
	e := connect(t)
	mode := "good"
	s := target.Server{Name: "tiny", Binary: serverBinary(t), Runner: e, Command: func(dir, address string, _ target.Credentials) (args, env []string) {
		return []string{dir, address}, []string{"MODE=" + mode}
	}}
	dir := filepath.Join(t.TempDir(), "data")
	p, err := s.Start(t.Context(), dir, target.Credentials{})
	require.NoError(t, err)
	used, err := p.Sample()
	require.NoError(t, err)
	require.Positive(t, used.RSS)
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(p.PID()), "exe"))
	require.NoError(t, err)
	require.Equal(t, "/server", exe)
	require.NoError(t, p.Stop())
	require.ErrorContains(t, p.Stop(), "had ended before it was stopped")
	who, err := os.ReadFile(filepath.Join(dir, "written"))
	require.NoError(t, err)
	require.NotEqual(t, "0", string(who), "it has no rights")

	p, err = s.Start(t.Context(), dir, target.Credentials{})
	require.NoError(t, err)
	p.Kill()
	<-p.Ended()

	mode = "broken"
	_, err = s.Start(t.Context(), dir, target.Credentials{})
	require.ErrorContains(t, err, "exit status 3")
	require.ErrorContains(t, err, "no drive there")
}

func TestLibrariesAreFoundWithTheirOwn(t *testing.T) {
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("needs a program that is linked dynamically")
	}
	paths, err := libraries(shell)
	require.NoError(t, err)
	if len(paths) == 0 {
		t.Skip("bash is static here")
	}
	seen := map[string]bool{}
	for _, path := range paths {
		require.False(t, seen[path], path)
		seen[path] = true
		require.FileExists(t, path)
	}
	_, err = libraries(filepath.Join("testdata", "nothing"))
	require.ErrorIs(t, err, os.ErrNotExist)
	text := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700))
	_, err = libraries(text)
	require.ErrorContains(t, err, "no program of Linux")
}
