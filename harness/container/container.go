// Package container runs a server's binary as a container: an image built from
// scratch around it, as a user without rights, and with nothing else inside.
// It speaks with the container engine through testcontainers-go.
//
// Everything that is made carries labels that say which process made it. Ryuk,
// testcontainers' own reaper, is off, since its image is nowhere without a
// registry; Sweep removes what a process that is gone has left behind.
//
// A container uses the host's network: what the network does wrong is the
// business of package proxy, and a server keeps its address over a restart.
package container

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// ErrNoEngine: no container engine answers here.
var ErrNoEngine = errors.New("no container engine answers")

// The labels of everything that is made here.
const (
	labelOwner = "io.cairnstore.lab.pid"   // the process that made it
	labelBorn  = "io.cairnstore.lab.start" // and when that began, since numbers come again
	repository = "cairn-lab"
)

// User is who a server runs as, and whom its volume must belong to.
const User = 65532

// An Engine is a connection to the container engine. Close it.
type Engine struct {
	provider *testcontainers.DockerProvider
	docker   client.APIClient
	labels   map[string]string

	mu    sync.Mutex
	built []string // images
}

// Connect finds the container engine. The error is ErrNoEngine when there is none.
func Connect(ctx context.Context) (*Engine, error) {
	if err := os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true"); err != nil {
		return nil, err
	}
	tclog.SetDefault(silent{})
	provider, err := testcontainers.NewDockerProvider(testcontainers.WithLogger(silent{}))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEngine, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := provider.Client().Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = provider.Close()
		return nil, fmt.Errorf("%w: %w", ErrNoEngine, err)
	}
	pid := os.Getpid()
	return &Engine{provider: provider, docker: provider.Client(), labels: map[string]string{labelOwner: strconv.Itoa(pid), labelBorn: born(pid)}}, nil
}

// silent keeps testcontainers from writing between a run's own lines.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Close removes the images that were built here and that no container uses, and
// ends the connection. Containers stay.
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, name := range e.built {
		errs = append(errs, e.removeImage(ctx, name))
	}
	return errors.Join(append(errs, e.provider.Close())...)
}

// Build makes an image from scratch around a binary, and around the loader and the
// libraries that it names if it is not static, and returns the image's name. The
// same binary is built once.
func (e *Engine) Build(ctx context.Context, binary string) (string, error) {
	data, err := os.ReadFile(binary)
	if err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	needed, err := libraries(binary)
	if err != nil {
		return "", fmt.Errorf("build image of %s: %w", binary, err)
	}
	name := repository + ":" + fmt.Sprintf("%x", sha256.Sum256(data))[:16]
	if _, err := e.docker.ImageInspect(ctx, name); err == nil {
		return name, nil
	}
	archive, err := buildContext(data, needed)
	if err != nil {
		return "", fmt.Errorf("build image: %w", err)
	}
	repo, tag, _ := strings.Cut(name, ":")
	var said bytes.Buffer
	built, err := e.provider.BuildImage(ctx, &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		ContextArchive: bytes.NewReader(archive), Repo: repo, Tag: tag, KeepImage: true, BuildLogWriter: &said,
		BuildOptionsModifier: func(o *client.ImageBuildOptions) { o.Labels = maps.Clone(e.labels) },
	}})
	if err != nil {
		return "", fmt.Errorf("build image: %w\n%s", err, said.String())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.built = append(e.built, built)
	return built, nil
}

func buildContext(binary []byte, needed []string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	type file struct {
		name string
		mode int64
		data []byte
	}
	recipe := "FROM scratch\nCOPY server /server\n"
	files := []file{{"server", 0o755, binary}}
	for i, path := range needed {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name := "library" + strconv.Itoa(i)
		recipe += fmt.Sprintf("COPY %s %s\n", name, path)
		files = append(files, file{name, 0o755, data})
	}
	recipe += fmt.Sprintf("USER %d:%d\nENTRYPOINT [\"/server\"]\n", User, User)
	for _, f := range append(files, file{"Dockerfile", 0o644, []byte(recipe)}) {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Options say what to run.
type Options struct {
	Image  string
	Args   []string
	Env    map[string]string
	Mounts map[string]string // directories of the host, by where they are in the container
	Memory int64             // bytes, without swap; 0: no limit
	Files  int64             // open descriptors at most; 0: the engine's default
	User   string            // as UID:GID; empty: the image's
}

// A Container is a server that was started at least once. Remove it.
type Container struct {
	engine *Engine
	tc     testcontainers.Container
	id     string
}

// Create makes a container; Start runs it.
func (e *Engine) Create(ctx context.Context, o Options) (*Container, error) {
	tc, err := e.provider.CreateContainer(ctx, testcontainers.ContainerRequest{
		Image: o.Image, Cmd: o.Args, Env: o.Env, Labels: maps.Clone(e.labels),
		ConfigModifier: func(c *container.Config) { c.User = o.User },
		HostConfigModifier: func(h *container.HostConfig) {
			h.NetworkMode = "host"
			for inside, outside := range o.Mounts {
				h.Binds = append(h.Binds, outside+":"+inside)
			}
			h.Memory, h.MemorySwap = o.Memory, o.Memory
			h.CapDrop = []string{"ALL"}
			h.SecurityOpt = []string{"no-new-privileges"}
			if o.Files > 0 {
				h.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: o.Files, Hard: o.Files}}
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	return &Container{e, tc, tc.GetContainerID()}, nil
}

// Start runs the server, for the first time or again.
func (c *Container) Start(ctx context.Context) error {
	if _, err := c.engine.docker.ContainerStart(ctx, c.id, client.ContainerStartOptions{}); err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	return nil
}

// State is how the server's process is.
type State struct {
	Running, Paused, OOMKilled bool
	PID, ExitCode              int
}

// State asks how the process is.
func (c *Container) State(ctx context.Context) (State, error) {
	in, err := c.engine.docker.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	if err != nil {
		return State{}, fmt.Errorf("inspect container: %w", err)
	}
	s := in.Container.State
	return State{s.Running, s.Paused, s.OOMKilled, s.Pid, s.ExitCode}, nil
}

// Signal sends a signal by its name, as KILL.
func (c *Container) Signal(ctx context.Context, name string) error {
	if _, err := c.engine.docker.ContainerKill(ctx, c.id, client.ContainerKillOptions{Signal: name}); err != nil {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// Freeze stops the process in its tracks, by the engine's freezer, and where
// that does not work by SIGSTOP; how says which.
func (c *Container) Freeze(ctx context.Context) (how string, err error) {
	_, err = c.engine.docker.ContainerPause(ctx, c.id, client.ContainerPauseOptions{})
	if err == nil {
		return "freezer", nil
	}
	return "SIGSTOP", c.Signal(ctx, "STOP")
}

// Thaw undoes Freeze.
func (c *Container) Thaw(ctx context.Context, how string) error {
	if how == "SIGSTOP" {
		return c.Signal(ctx, "CONT")
	}
	if _, err := c.engine.docker.ContainerUnpause(ctx, c.id, client.ContainerUnpauseOptions{}); err != nil {
		return fmt.Errorf("thaw: %w", err)
	}
	return nil
}

// Quota bounds the CPU time, as a share of one core; 0 takes the bound away.
func (c *Container) Quota(ctx context.Context, cores float64) error {
	const period = 100_000 // µs
	r := container.Resources{CPUPeriod: period, CPUQuota: -1}
	if cores > 0 {
		r.CPUQuota = max(1000, int64(cores*period)) // the kernel's least
	}
	return c.update(ctx, r)
}

func (c *Container) update(ctx context.Context, r container.Resources) error {
	if _, err := c.engine.docker.ContainerUpdate(ctx, c.id, client.ContainerUpdateOptions{Resources: &r}); err != nil {
		return fmt.Errorf("limit container: %w", err)
	}
	return nil
}

// Memory bounds the memory, in bytes and without swap.
func (c *Container) Memory(ctx context.Context, bytes int64) error {
	return c.update(ctx, container.Resources{Memory: bytes, MemorySwap: bytes})
}

// Throttled is in how many periods the process had to wait for its quota.
func (c *Container) Throttled(ctx context.Context) (int64, error) {
	s, err := c.engine.docker.ContainerStats(ctx, c.id, client.ContainerStatsOptions{})
	if err != nil {
		return 0, fmt.Errorf("container stats: %w", err)
	}
	defer func() { _ = s.Body.Close() }()
	var stats container.StatsResponse
	if err := json.NewDecoder(s.Body).Decode(&stats); err != nil {
		return 0, fmt.Errorf("container stats: %w", err)
	}
	return int64(stats.CPUStats.ThrottlingData.ThrottledPeriods), nil
}

// Log is the last of what the server wrote, on both streams.
func (c *Container) Log(ctx context.Context, lines int) string {
	r, err := c.engine.docker.ContainerLogs(ctx, c.id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines)})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Close() }()
	var text bytes.Buffer
	_, _ = stdcopy.StdCopy(&text, &text, io.LimitReader(r, 1<<20))
	return text.String()
}

// Remove ends the server, however it is, and removes the container.
func (c *Container) Remove(ctx context.Context) error {
	return c.engine.remove(ctx, c.id)
}

func (e *Engine) remove(ctx context.Context, id string) error {
	_, err := e.docker.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !strings.Contains(err.Error(), "No such container") {
		return fmt.Errorf("remove container: %w", err)
	}
	return nil
}
