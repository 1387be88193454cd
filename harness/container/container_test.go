package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A tiny static program: it waits for a signal.
const program = `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("user", os.Getuid(), "arguments", os.Args[1:])
	if _, err := os.Stat("/data/shown"); err != nil {
		os.Exit(3)
	}
	<-c
	os.Exit(7)
}
`

func connect(t *testing.T) *Engine {
	t.Helper()
	e, err := Connect(t.Context())
	if errors.Is(err, ErrNoEngine) && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED: no container engine: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), filepath.Join(dir, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return filepath.Join(dir, "program")
}

func await(t *testing.T, c *Container, good func(State) bool) State {
	t.Helper()
	var s State
	require.Eventually(t, func() bool {
		var err error
		s, err = c.State(t.Context())
		require.NoError(t, err)
		return good(s)
	}, time.Minute, 20*time.Millisecond)
	return s
}

func TestAContainersLife(t *testing.T) {
	e := connect(t)
	image, err := e.Build(t.Context(), build(t))
	require.NoError(t, err)
	volume := t.TempDir()
	require.NoError(t, os.Chmod(volume, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(volume, "shown"), nil, 0o644))
	for dir := volume; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755)) // another user must get there
	}
	c, err := e.Create(t.Context(), Options{Image: image, Args: []string{"a", "b"}, Mounts: map[string]string{"/data": volume}, Memory: 64 << 20, Files: 100})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Remove(context.Background())) })

	require.NoError(t, c.Start(t.Context()))
	running := await(t, c, func(s State) bool { return s.Running })
	require.Positive(t, running.PID)
	require.Eventually(t, func() bool { return strings.Contains(c.Log(t.Context(), 5), "user 65532 arguments [a b]") }, time.Minute, 20*time.Millisecond)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", running.PID))
	require.NoError(t, err)
	require.Regexp(t, `Max open files\s+100\s+100`, string(limits))

	require.NoError(t, c.Quota(t.Context(), .5))
	require.NoError(t, c.Quota(t.Context(), 0))
	require.NoError(t, c.Memory(t.Context(), 128<<20))
	_, err = c.Throttled(t.Context())
	require.NoError(t, err)

	how, err := c.Freeze(t.Context())
	require.NoError(t, err)
	require.NoError(t, c.Thaw(t.Context(), how))
	require.NoError(t, c.Signal(t.Context(), "TERM"))
	require.Equal(t, 7, await(t, c, func(s State) bool { return !s.Running }).ExitCode)

	require.NoError(t, c.Start(t.Context()), "again")
	await(t, c, func(s State) bool { return s.Running && s.PID != running.PID })
	require.NoError(t, c.Signal(t.Context(), "KILL"))
	require.Equal(t, 137, await(t, c, func(s State) bool { return !s.Running }).ExitCode)
	sweeps(t, e, c, image)
}

// sweeps: what the dead left is swept, and nothing else.
func sweeps(t *testing.T, e *Engine, own *Container, image string) {
	t.Helper()
	e.labels[labelBorn] = "0" // as if a process of our number, long gone, had made it
	abandoned, err := e.Create(t.Context(), Options{Image: image})
	require.NoError(t, err)
	e.labels[labelBorn] = Born()

	removed, err := e.Sweep(t.Context())
	require.NoError(t, err)
	require.Contains(t, removed, "container "+abandoned.id[:12])
	_, err = own.State(t.Context())
	require.NoError(t, err, "ours stays")
	_, err = abandoned.State(t.Context())
	require.Error(t, err)
	require.NoError(t, own.Remove(t.Context()))
	require.NoError(t, own.Remove(t.Context()), "twice is no error")
}

func TestAProcessIsKnownByItsNumberAndItsStart(t *testing.T) {
	require.True(t, Alive(os.Getpid(), Born()))
	require.False(t, Alive(os.Getpid(), "0"))
	require.False(t, Alive(1<<30, "0"))
}
