package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/chaos/fusefs"
	"github.com/cairnstore/cairn/chaos/proxy"
	"github.com/cairnstore/cairn/harness/container"
	"github.com/cairnstore/cairn/harness/system"
	"github.com/cairnstore/cairn/harness/target"
	"github.com/cairnstore/cairn/harness/verify"
)

// A Stage is a server under load that a fault may ill-treat.
type Stage struct {
	Plan      *Plan
	Container *container.Container
	Address   string // of the server itself; clients use the proxy's
	Proxy     *proxy.Proxy
	Volume    *stageVolume
	Fuse      *fusefs.FS // nil: the volume is none
	ClockFile string     // sets the clock of a build with faults
	Client    *verify.Client

	chronicle *chronicle
	load      *verify.Load
	engine    *container.Engine
	dir       string
	offset    atomic.Int64 // of the clock that clients sign by

	counts struct {
		sync.Mutex
		of map[string]int64
	}
}

// What a stage's server is told.
const (
	bucket    = "chaos"
	keyPrefix = "k/"
	access    = "chaos-access"
	secret    = "chaos-secret-of-no-worth"
	readyPath = "/health/ready"
)

// build sets the stage up to a server that answers. Strike takes it down again,
// however far this came.
func (s *Stage) build(ctx context.Context, image string) error {
	var err error
	if s.dir, err = MakeRunDir(); err != nil {
		return err
	}
	control := filepath.Join(s.dir, "control")
	if err := os.Mkdir(control, 0o755); err != nil {
		return err
	}
	s.ClockFile = filepath.Join(control, "clock")
	if s.Volume, err = mount(s.Plan.Volume, s.dir, s.Plan.Seed); err != nil {
		return err
	}
	s.Fuse = s.Volume.fuse
	if s.Address, err = target.FreeAddress(); err != nil {
		return err
	}
	if s.Proxy, err = proxy.Listen(s.Plan.Seed); err != nil {
		return err
	}
	s.Proxy.Forward(s.Address)
	s.Container, err = s.engine.Create(ctx, container.Options{
		Image: image, Args: append([]string{"server", "--data", "/data", "--address", s.Address, "--admin-address", "off"}, s.Plan.Server.Args...),
		Env:    map[string]string{"CAIRN_ROOT_USER": access, "CAIRN_ROOT_PASSWORD": secret, "FAULT_CLOCK_FILE": "/control/clock"},
		Mounts: map[string]string{"/data": s.Volume.Dir, "/control": control},
		Memory: int64(s.Plan.Server.Memory), Files: s.Plan.Server.Files,
	})
	if err != nil {
		return err
	}
	if err := s.Container.Start(ctx); err != nil {
		return err
	}
	l := &s.Plan.Load
	s.Client = verify.NewClient(verify.ClientOptions{
		Address: s.Proxy.Address(), Bucket: bucket, Access: access, Secret: secret, Timeout: l.Timeout, Connections: 2 * l.Clients,
		Now: func() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) },
	})
	sizes := make([]int, len(l.Sizes))
	for i, size := range l.Sizes {
		sizes[i] = int(size)
	}
	s.load = &verify.Load{
		Client: s.Client, Journal: verify.NewJournal(), Keys: verify.Keys(keyPrefix, l.Keys), Clients: l.Clients, Rate: l.Rate,
		Weights: l.weights(), Sizes: sizes, Seed: s.Plan.Seed, Observe: s.chronicle.observe,
		Ready: func(ctx context.Context) error { return target.Probe(ctx, s.Proxy.Address(), readyPath) },
	}
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	return s.Client.CreateBucket(ctx)
}

// strike takes the stage down.
func (s *Stage) strike() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if s.Client != nil {
		s.Client.Close()
	}
	if s.Container != nil {
		errs = append(errs, s.Container.Remove(ctx))
	}
	if s.Proxy != nil {
		s.Proxy.Close()
	}
	if s.Volume != nil {
		errs = append(errs, s.Volume.undo())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// Count adds to what the record's counters say.
func (s *Stage) Count(what string, n int64) {
	s.counts.Lock()
	defer s.counts.Unlock()
	s.counts.of[what] += n
}

// awaitReady waits until the server says that it is ready. One that ends
// meanwhile is an error with its last words.
func (s *Stage) awaitReady(ctx context.Context) error {
	for ticks := 0; ; ticks++ {
		err := target.Probe(ctx, s.Address, readyPath)
		if err == nil {
			return nil
		}
		if ticks%10 == 9 {
			if state, err := s.Container.State(ctx); err == nil && !state.Running {
				return fmt.Errorf("the server ended with status %d:\n%s", state.ExitCode, s.Container.Log(ctx, 20))
			}
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the server is not ready: %w", err)
		}
	}
}

// Restart waits until the server's process has ended, and starts it again.
// What was in doubt has then happened or never will.
func (s *Stage) Restart(ctx context.Context) error {
	for {
		state, err := s.Container.State(ctx)
		if err != nil {
			return err
		}
		if !state.Running {
			break
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the server does not end: %w", ctx.Err())
		}
	}
	s.Proxy.Anew()
	s.load.Journal.Settle()
	return s.Container.Start(ctx)
}

// awaitHealthy waits until clients can write and read again.
func (s *Stage) awaitHealthy(ctx context.Context) error {
	const key = "probe/health"
	content := verify.Content{ID: 1, Size: 1000}
	for ticks := 0; ; ticks++ {
		err := target.Probe(ctx, s.Proxy.Address(), readyPath)
		if err == nil {
			err = s.Client.Put(ctx, key, content)
		}
		var got verify.Content
		if err == nil {
			got, err = s.Client.Get(ctx, key)
		}
		if err == nil {
			if got != content {
				return fmt.Errorf("a probe was put and acknowledged, and reads as %+v", got)
			}
			return nil
		}
		if ticks%20 == 19 {
			if state, err := s.Container.State(ctx); err == nil && !state.Running {
				return fmt.Errorf("the server ended with status %d:\n%s", state.ExitCode, s.Container.Log(ctx, 20))
			}
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("the server is not well: %w", err)
		}
	}
}

// Usage is what the server's process holds now.
func (s *Stage) Usage(ctx context.Context) (verify.Usage, error) {
	state, err := s.Container.State(ctx)
	if err != nil {
		return verify.Usage{}, err
	}
	sample, err := system.Process(state.PID)
	if err != nil {
		return verify.Usage{}, err
	}
	open, err := os.Open(fmt.Sprintf("/proc/%d/fd", state.PID))
	if err != nil {
		return verify.Usage{}, fmt.Errorf("count descriptors: %w", err)
	}
	names, err := open.Readdirnames(-1)
	if err = errors.Join(err, open.Close()); err != nil {
		return verify.Usage{}, fmt.Errorf("count descriptors: %w", err)
	}
	return verify.Usage{At: sample.At, Process: state.PID, RSS: sample.RSS, Descriptors: len(names)}, nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// A reporter writes lines of progress; a nil one none.
type reporter struct {
	w     io.Writer
	start time.Time
}

func (r *reporter) say(format string, args ...any) {
	if r.w != nil {
		_, _ = fmt.Fprintf(r.w, "%7.1fs  %s\n", time.Since(r.start).Seconds(), strings.TrimRight(fmt.Sprintf(format, args...), "\n"))
	}
}
