package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cairnstore/cairn/harness/target"
	"github.com/cairnstore/cairn/harness/verify"
)

var processFaults = map[string]*kind{
	"kill":   {what: "SIGKILL under load; the system keeps what was written", make: func() Fault { return &kill{signal: "KILL"} }},
	"term":   {what: "SIGTERM under load; the server must end by itself with status 0", make: func() Fault { return &kill{signal: "TERM"} }},
	"freeze": {what: "the process stops in its tracks and later goes on", make: func() Fault { return &freeze{} }},
	"memory": {what: "the memory limit is lowered until the kernel kills the process", make: func() Fault { return &memory{} }},
	"cpu":    {what: "the process gets a small share of one core", make: func() Fault { return &cpu{Cores: .05} }},
	"descriptors": {what: "clients hold connections until the server takes no more", needs: "server.files",
		make: func() Fault { return &descriptors{} },
		lacks: func(p *Plan) string {
			if p.Server.Files == 0 || p.Server.Files > 1024 {
				return "server.files of at most 1024"
			}
			return ""
		}},
}

// kill ends the process by a signal. It bites when the process is gone and
// clients have noticed.
type kill struct {
	quiet  `yaml:"-"`
	signal string
	watch  *Watch
}

func (f *kill) Inject(ctx context.Context, s *Stage) error {
	f.watch = s.Watch()
	return s.Container.Signal(ctx, f.signal)
}

func (f *kill) Bites(ctx context.Context, s *Stage) (string, error) {
	state, err := s.Container.State(ctx)
	if err != nil || state.Running {
		return "", err
	}
	switch seen := f.watch.Seen(); {
	case f.signal == "TERM" && state.ExitCode != 0:
		return "", fmt.Errorf("the server ended with status %d after SIGTERM, want 0", state.ExitCode)
	case f.signal == "KILL" && state.ExitCode != 137:
		return "", fmt.Errorf("the server ended with status %d after SIGKILL, want 137", state.ExitCode)
	case seen.Refused+seen.InDoubt == 0:
		return "", nil
	default:
		return fmt.Sprintf("exit status %d, %d operations failed", state.ExitCode, seen.Refused+seen.InDoubt), nil
	}
}

func (f *kill) Recover(ctx context.Context, s *Stage) error { return s.Restart(ctx) }

func (f *kill) CleanUp(context.Context, *Stage) error {
	f.watch.Close()
	return nil
}

// freeze bites when nothing was answered for a while.
type freeze struct {
	quiet `yaml:"-"`
	how   string
	at    time.Time
	watch *Watch
}

// silence is how long nothing may have been answered for a standstill to be seen.
const silence = 400 * time.Millisecond

func (f *freeze) Inject(ctx context.Context, s *Stage) (err error) {
	f.watch = s.Watch()
	f.how, err = s.Container.Freeze(ctx)
	f.at = time.Now()
	return err
}

func (f *freeze) Bites(context.Context, *Stage) (string, error) {
	return stillness(f.watch, f.at, "frozen by "+f.how), nil
}

// stillness is what is seen of a standstill since a time.
func stillness(w *Watch, since time.Time, how string) string {
	last := w.Seen().Last
	if last.Before(since) {
		last = since
	}
	if quiet := time.Since(last); quiet >= silence {
		return fmt.Sprintf("%s, nothing answered for %v", how, quiet.Round(time.Millisecond))
	}
	return ""
}

func (f *freeze) Recover(ctx context.Context, s *Stage) error {
	how := f.how
	f.how = ""
	return s.Container.Thaw(ctx, how)
}

func (f *freeze) CleanUp(ctx context.Context, s *Stage) error {
	f.watch.Close()
	if f.how != "" {
		return f.Recover(ctx, s)
	}
	return nil
}

// memory keeps the limit at what the process uses, while large uploads ask it for
// more, until the kernel kills it. (To set a limit far below what is used is refused by
// cgroup v1, and kills at once in v2.)
type memory struct {
	quiet `yaml:"-"`
	limit int64
	watch *Watch
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// enoughMemory is as good as no limit, which the engine can't be asked for again.
const (
	enoughMemory = 8 << 30
	leastMemory  = 8 << 20
	uploads      = 12
	uploadSize   = 24 << 20
)

func (f *memory) Inject(ctx context.Context, s *Stage) error {
	f.watch = s.Watch()
	usage, err := s.Usage(ctx)
	if err != nil {
		return err
	}
	f.limit = usage.RSS
	ctx, f.stop = context.WithCancel(ctx)
	for i := range uploads {
		f.done.Go(func() {
			for ctx.Err() == nil {
				_ = s.Client.Put(ctx, fmt.Sprintf("probe/memory-%d", i), verify.Content{ID: 1, Size: uploadSize})
				sleep(ctx, 20*time.Millisecond)
			}
		})
	}
	return nil
}

func (f *memory) Bites(ctx context.Context, s *Stage) (string, error) {
	state, err := s.Container.State(ctx)
	if err != nil {
		return "", err
	}
	if state.Running {
		if s.Container.Memory(ctx, f.limit) == nil {
			f.limit = max(leastMemory, f.limit-f.limit/32)
		} else { // below what is in use
			f.limit += f.limit / 64
		}
		return "", nil
	}
	if state.ExitCode != 137 {
		return "", fmt.Errorf("the server ended with status %d for want of memory, want 137 by the kernel", state.ExitCode)
	}
	return fmt.Sprintf("killed by the kernel near a limit of %d MiB (OOM noted by the engine: %v)", f.limit>>20, state.OOMKilled), nil
}

func (f *memory) Recover(ctx context.Context, s *Stage) error {
	f.end()
	if err := s.Container.Memory(ctx, max(int64(s.Plan.Server.Memory), enoughMemory)); err != nil {
		return err
	}
	return s.Restart(ctx)
}

func (f *memory) CleanUp(context.Context, *Stage) error {
	f.watch.Close()
	f.end()
	return nil
}

// end stops the uploads.
func (f *memory) end() {
	if f.stop != nil {
		f.stop()
		f.done.Wait()
	}
}

// cpu bites when the kernel has made the process wait for its quota.
type cpu struct {
	Cores float64 `yaml:"cores"`

	before int64
	watch  *Watch
}

func (f *cpu) validate() error {
	if f.Cores >= .01 && f.Cores <= 1 {
		return nil
	}
	return fmt.Errorf("%w: cores is %v, 0.01 to 1 are allowed", errNotASetting, f.Cores)
}

func (f *cpu) SetUp(ctx context.Context, s *Stage) (err error) {
	f.before, err = s.Container.Throttled(ctx)
	return err
}

func (f *cpu) Inject(ctx context.Context, s *Stage) error {
	f.watch = s.Watch()
	return s.Container.Quota(ctx, f.Cores)
}

func (f *cpu) Bites(ctx context.Context, s *Stage) (string, error) {
	now, err := s.Container.Throttled(ctx)
	// A period is 100 ms: an operation that met the end of its quota is seen to be slow.
	seen := f.watch.Seen()
	if err != nil || now < f.before+3 || seen.Longest < 50*time.Millisecond {
		return "", err
	}
	return fmt.Sprintf("throttled in %d periods, an operation took %v", now-f.before, seen.Longest.Round(time.Millisecond)), nil
}

func (f *cpu) Recover(ctx context.Context, s *Stage) error { return s.Container.Quota(ctx, 0) }

func (f *cpu) CleanUp(ctx context.Context, s *Stage) error {
	f.watch.Close()
	return s.Container.Quota(ctx, 0)
}

// descriptors takes what the server has for clients, by connections that say
// nothing. It bites when half of all that the process may open, or more, is open
// and a new connection is not answered. The other half is the store's, which
// goes on behind the connections that were there before.
type descriptors struct {
	quiet `yaml:"-"`
	held  []net.Conn
}

func (f *descriptors) Inject(ctx context.Context, s *Stage) error {
	for range s.Plan.Server.Files + 16 {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", s.Address)
		if err != nil {
			return nil // no more are taken
		}
		f.held = append(f.held, c)
	}
	return nil
}

func (f *descriptors) Bites(ctx context.Context, s *Stage) (string, error) {
	usage, err := s.Usage(ctx)
	if err != nil || int64(usage.Descriptors) < s.Plan.Server.Files/2 {
		return "", err
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	err = target.Probe(short, s.Address, readyPath)
	if err == nil {
		return "", nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return fmt.Sprintf("%d of %d descriptors open, a new connection is not answered", usage.Descriptors, s.Plan.Server.Files), nil
}

func (f *descriptors) Recover(ctx context.Context, s *Stage) error {
	var errs []error
	for _, c := range f.held {
		errs = append(errs, c.Close())
	}
	f.held = nil
	state, err := s.Container.State(ctx)
	if err == nil && !state.Running {
		errs = append(errs, fmt.Errorf("the server ended with status %d for want of descriptors", state.ExitCode))
	}
	return errors.Join(append(errs, err)...)
}

func (f *descriptors) CleanUp(context.Context, *Stage) error {
	for _, c := range f.held {
		_ = c.Close()
	}
	return nil
}
