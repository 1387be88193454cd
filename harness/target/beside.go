package target

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// beside runs processes as children of this one, with their logs in files.
type beside struct{}

type childProcess struct {
	cmd *exec.Cmd
	log *os.File
}

func (beside) Run(_ context.Context, l Launch) (Job, error) {
	log, err := os.OpenFile(filepath.Join(l.LogDir, l.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(l.Binary, l.Args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.LogDir}, l.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		_ = log.Close()
		return nil, err
	}
	return &childProcess{cmd, log}, nil
}

func (c *childProcess) PID() int { return c.cmd.Process.Pid }

func (c *childProcess) Signal(s syscall.Signal) error { return c.cmd.Process.Signal(s) }

func (c *childProcess) Wait() error {
	err := c.cmd.Wait()
	_ = c.log.Close()
	return err
}

func (c *childProcess) Log() string {
	text, err := os.ReadFile(c.log.Name())
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-2000):])
}

func (c *childProcess) Remove() error { return nil }
