package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/cairnstore/cairn/harness/verify"
)

var clockFaults = map[string]*kind{
	"clock": {what: "the server's clock jumps, and clients follow it", needs: "server.build faults",
		make: func() Fault { return &clock{Offset: time.Hour} },
		lacks: func(p *Plan) string {
			if p.Server.Build != Faults {
				return "server.build faults, whose clock can be set"
			}
			return ""
		}},
}

// clock sets the server's clock wrong. It bites when requests that are signed
// by the right time are refused. Clients then take the server's time, as those
// do who ask it for the date, and the load goes on: what is written later must win,
// whatever its time says, and conditions on times must hold.
type clock struct {
	quiet  `yaml:"-"`
	Offset time.Duration `yaml:"offset"`
	watch  *Watch
}

func (f *clock) validate() error {
	if d := f.Offset.Abs(); d >= 16*time.Minute && d <= 30*24*time.Hour {
		return nil
	}
	return fmt.Errorf("%w: offset is %v; over 15m, the window of signatures, and up to 30 days either way", errNotASetting, f.Offset)
}

func (f *clock) Inject(_ context.Context, s *Stage) error {
	f.watch = s.Watch()
	return os.WriteFile(s.ClockFile, []byte(f.Offset.String()), 0o644)
}

func (f *clock) Bites(ctx context.Context, s *Stage) (string, error) {
	refused := f.watch.Seen().Codes["RequestTimeTooSkewed"]
	if refused == 0 {
		return "", nil
	}
	s.offset.Store(int64(f.Offset))
	off, err := f.conditions(ctx, s)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d requests refused as RequestTimeTooSkewed; new objects are dated %v off", refused, off), nil
}

// conditions puts an object and asks for it under conditions on its time
// (RFC 9110, sections 13.1.3 and 13.1.4). It returns how far its time is off.
func (f *clock) conditions(ctx context.Context, s *Stage) (time.Duration, error) {
	const key = "probe/clock"
	content := verify.Content{ID: 1, Size: 100}
	if err := s.Client.Put(ctx, key, content); err != nil {
		return 0, fmt.Errorf("put under the wrong clock: %w", err)
	}
	head, err := s.Client.Head(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("head under the wrong clock: %w", err)
	}
	modified := head.Get("Last-Modified")
	at, err := http.ParseTime(modified)
	if err != nil {
		return 0, fmt.Errorf("under the wrong clock, Last-Modified: %w", err)
	}
	off := time.Until(at)
	if wrong := (off - f.Offset).Abs(); wrong > time.Minute {
		return 0, fmt.Errorf("an object put with the clock %v off is dated %v off", f.Offset, off.Round(time.Second))
	}
	before := at.Add(-time.Second).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		header, value string
		want          int
	}{
		{"If-Modified-Since", modified, http.StatusNotModified},
		{"If-Modified-Since", before, http.StatusOK},
		{"If-Unmodified-Since", modified, http.StatusOK},
		{"If-Unmodified-Since", before, http.StatusPreconditionFailed},
	} {
		got, err := s.Client.Conditional(ctx, key, c.header, c.value)
		if err != nil {
			return 0, err
		}
		if got != c.want {
			return 0, fmt.Errorf("with the clock %v off, %s: %s of an object dated %s answers %d, want %d", f.Offset, c.header, c.value, modified, got, c.want)
		}
	}
	return off.Round(time.Second), s.Client.Delete(ctx, key)
}

func (f *clock) Recover(_ context.Context, s *Stage) error {
	s.offset.Store(0)
	return os.Remove(s.ClockFile)
}

func (f *clock) CleanUp(_ context.Context, s *Stage) error {
	f.watch.Close()
	s.offset.Store(0)
	if err := os.Remove(s.ClockFile); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
