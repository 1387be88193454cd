package container

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/harness/target"
)

// Run makes an Engine a target.Runner: it runs a server's binary in a container
// that sees its data directory under the same name, and nothing else.
func (e *Engine) Run(ctx context.Context, l target.Launch) (target.Job, error) {
	image, err := e.Build(ctx, l.Binary)
	if err != nil {
		return nil, err
	}
	// Root's servers give up their rights; anybody else's are as they would be outside.
	user := fmt.Sprintf("%d:%d", User, User)
	if uid := os.Getuid(); uid != 0 {
		user = fmt.Sprintf("%d:%d", uid, os.Getgid())
	} else if err := os.Chown(l.Data, User, User); err != nil {
		return nil, err
	}
	env := map[string]string{"HOME": l.Data}
	for _, pair := range l.Env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	c, err := e.Create(ctx, Options{Image: image, Args: l.Args, Env: env, Mounts: map[string]string{l.Data: l.Data}, User: user})
	if err != nil {
		return nil, err
	}
	j := &job{c: c}
	err = c.Start(ctx)
	if err == nil {
		j.last, err = c.State(ctx)
	}
	if err != nil {
		_ = j.Remove()
		return nil, err
	}
	return j, nil
}

// A job is a server in a container.
type job struct {
	c    *Container
	last State // at its start, with its number among this machine's processes
}

// askWithin bounds what the engine may take for an answer.
const askWithin = 30 * time.Second

func (j *job) PID() int { return j.last.PID }

func (j *job) Signal(s syscall.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	return j.c.Signal(ctx, unix.SignalName(s))
}

func (j *job) Wait() error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), askWithin)
		s, err := j.c.State(ctx)
		cancel()
		switch {
		case err != nil:
			return err
		case s.OOMKilled:
			return fmt.Errorf("it was killed for its memory, exit status %d", s.ExitCode)
		case !s.Running && s.ExitCode != 0:
			return fmt.Errorf("exit status %d", s.ExitCode)
		case !s.Running:
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (j *job) Log() string {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	return j.c.Log(ctx, 20)
}

func (j *job) Remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	return j.c.Remove(ctx)
}
