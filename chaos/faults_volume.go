package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/chaos/fusefs"
)

var volumeFaults = map[string]*kind{
	"power": {what: "SIGKILL, and the volume forgets what was not synced: the power goes out", needs: "volume.kind fuse",
		make: func() Fault { return &power{kill: kill{signal: "KILL"}, Survive: .3} }, lacks: needsFuse},
	"full": {what: "the volume fills up to its last byte", needs: "volume.kind tmpfs",
		make: func() Fault { return &full{} },
		lacks: func(p *Plan) string {
			if p.Volume.Kind != Tmpfs {
				return "a volume of the kind tmpfs, so that nothing else fills up"
			}
			return ""
		}},
	"slow": {what: "syncs of the volume take longer", needs: "volume.kind fuse",
		make: func() Fault { return &slow{Delay: 60 * time.Millisecond} }, lacks: needsFuse},
	"failed-sync": {what: "syncs fail with EIO, and what they should have saved is lost", needs: "volume.kind fuse",
		make: func() Fault { return &failedSync{} }, lacks: needsFuse},
	"no-space": {what: "writes, allocations and new files are refused with ENOSPC", needs: "volume.kind fuse",
		make: func() Fault { return &noSpace{} }, lacks: needsFuse},
	"bad-reads": {what: "reads come back with a bit flipped, or fail with EIO", needs: "volume.kind fuse",
		make: func() Fault { return &badReads{Effect: fusefs.Flip, Chance: .3} }, lacks: needsFuse},
}

// power is a kill after which the volume forgets. It bites as a kill does; that
// pages were lost at all is required of the whole run, since a single cut may
// find everything synced.
type power struct {
	kill    `yaml:"-"`
	Survive float64 `yaml:"survive"` // chance of a page that was not synced to be there nevertheless

	crashed bool
	lost    int64
}

func (f *power) validate() error {
	if f.Survive >= 0 && f.Survive < 1 {
		return nil
	}
	return fmt.Errorf("%w: survive is %v, 0 to below 1 is allowed", errNotASetting, f.Survive)
}

func (f *power) Bites(ctx context.Context, s *Stage) (string, error) {
	seen, err := f.kill.Bites(ctx, s)
	if seen == "" || err != nil {
		return seen, err
	}
	if !f.crashed {
		f.crashed = true
		if f.lost, err = s.Fuse.Crash(f.Survive); err != nil {
			return "", err
		}
		s.Count("lost pages", f.lost)
	}
	return fmt.Sprintf("%s, %d pages lost", seen, f.lost), nil
}

// required is what Run must find counted at the end.
func (f *power) required() string { return "lost pages" }

// full fills the volume by a file beside the server's own. It bites when a
// put was refused.
type full struct {
	quiet  `yaml:"-"`
	filler string
	watch  *Watch
}

func (f *full) Inject(_ context.Context, s *Stage) error {
	f.watch = s.Watch()
	f.filler = filepath.Join(s.Volume.Dir, "filler") // no name of the store's
	return fill(f.filler)
}

// fill appends to a file until nothing more fits.
func fill(name string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fill the volume: %w", err)
	}
	chunk := make([]byte, 1<<20)
	for len(chunk) > 0 {
		_, err := file.Write(chunk)
		if errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/16] // down to the last bytes
		} else if err != nil {
			_ = file.Close()
			return fmt.Errorf("fill the volume: %w", err)
		}
	}
	return file.Close()
}

func (f *full) Bites(context.Context, *Stage) (string, error) {
	if seen := f.watch.Seen(); seen.FailedPuts > 0 {
		return fmt.Sprintf("%d writes were refused (%v)", seen.FailedPuts, seen.Codes), nil
	}
	return "", fill(f.filler) // what a compaction gave back
}

func (f *full) Recover(context.Context, *Stage) error {
	name := f.filler
	f.filler = ""
	return os.Remove(name)
}

func (f *full) CleanUp(context.Context, *Stage) error {
	f.watch.Close()
	if f.filler != "" {
		return os.Remove(f.filler)
	}
	return nil
}

// rules puts rules on the volume, and takes them away again.
type rules struct {
	quiet  `yaml:"-"`
	before fusefs.Counts
	watch  *Watch
}

func (f *rules) put(s *Stage, rules ...fusefs.Rule) error {
	f.before, f.watch = s.Fuse.Counts(), s.Watch()
	return s.Fuse.SetRules(rules...)
}

func (f *rules) Recover(_ context.Context, s *Stage) error { return s.Fuse.SetRules() }

func (f *rules) CleanUp(_ context.Context, s *Stage) error {
	f.watch.Close()
	return s.Fuse.SetRules()
}

// slow bites when an operation took as long as a sync now does.
type slow struct {
	rules `yaml:"-"`
	Delay time.Duration `yaml:"delay"`
}

func (f *slow) validate() error {
	if f.Delay >= time.Millisecond && f.Delay <= 10*time.Second {
		return nil
	}
	return fmt.Errorf("%w: delay is %v, 1ms to 10s are allowed", errNotASetting, f.Delay)
}

func (f *slow) Inject(_ context.Context, s *Stage) error {
	return f.put(s, fusefs.Rule{Ops: []fusefs.Op{fusefs.Sync}, Effect: fusefs.Delay, Delay: f.Delay})
}

func (f *slow) Bites(_ context.Context, s *Stage) (string, error) {
	delayed, seen := s.Fuse.Counts().Delayed-f.before.Delayed, f.watch.Seen()
	if delayed == 0 || seen.Longest < f.Delay {
		return "", nil
	}
	return fmt.Sprintf("%d syncs delayed, an operation took %v", delayed, seen.Longest.Round(time.Millisecond)), nil
}

// failedSync bites when a sync failed and a writer was told. The server must
// write no more until it is restarted, which is the way to recover.
type failedSync struct {
	rules `yaml:"-"`
}

func (f *failedSync) Inject(_ context.Context, s *Stage) error {
	return f.put(s, fusefs.Rule{Ops: []fusefs.Op{fusefs.Sync}, Effect: fusefs.Lose})
}

func (f *failedSync) Bites(_ context.Context, s *Stage) (string, error) {
	c, seen := s.Fuse.Counts(), f.watch.Seen()
	if c.Failed == f.before.Failed || seen.FailedPuts == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d syncs failed and lost %d pages, %d writes were refused (%v)",
		c.Failed-f.before.Failed, c.LostPages-f.before.LostPages, seen.FailedPuts, seen.Codes), nil
}

func (f *failedSync) Recover(ctx context.Context, s *Stage) error {
	if err := f.rules.Recover(ctx, s); err != nil {
		return err
	}
	state, err := s.Container.State(ctx)
	if err != nil {
		return err
	}
	if state.Running {
		if err := s.Container.Signal(ctx, "TERM"); err != nil {
			return err
		}
	}
	return s.Restart(ctx)
}

// noSpace is full by the volume's own word, to the byte and at once.
type noSpace struct {
	rules `yaml:"-"`
}

func (f *noSpace) Inject(_ context.Context, s *Stage) error {
	return f.put(s, fusefs.Rule{Ops: []fusefs.Op{fusefs.Write, fusefs.Allocate, fusefs.Create}, Effect: fusefs.ENOSPC})
}

func (f *noSpace) Bites(_ context.Context, s *Stage) (string, error) {
	refused, seen := s.Fuse.Counts().Full-f.before.Full, f.watch.Seen()
	if refused == 0 || seen.FailedPuts == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d operations of the volume refused, %d writes failed (%v)", refused, seen.FailedPuts, seen.Codes), nil
}

// badReads bites when clients got an error for a read. Wrong bytes are never
// right: they are the checkers' business.
type badReads struct {
	rules  `yaml:"-"`
	Effect fusefs.Effect `yaml:"effect"` // flip or eio
	Match  string        `yaml:"match"`  // files, by fusefs.Rule's Match
	Chance float64       `yaml:"chance"`
}

func (f *badReads) rule() fusefs.Rule {
	return fusefs.Rule{Ops: []fusefs.Op{fusefs.Read}, Match: f.Match, Effect: f.Effect, Chance: f.Chance}
}

func (f *badReads) validate() error {
	if f.Effect != fusefs.Flip && f.Effect != fusefs.EIO {
		return fmt.Errorf("%w: effect is %q, flip and eio are allowed", errNotASetting, f.Effect)
	}
	r := f.rule()
	return r.Validate()
}

func (f *badReads) Inject(_ context.Context, s *Stage) error { return f.put(s, f.rule()) }

func (f *badReads) Bites(_ context.Context, s *Stage) (string, error) {
	c, seen := s.Fuse.Counts(), f.watch.Seen()
	bad := c.Flipped + c.Failed - f.before.Flipped - f.before.Failed
	if bad == 0 || seen.FailedGets == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d reads of the volume spoiled, %d gets failed (%v)", bad, seen.FailedGets, seen.Codes), nil
}
