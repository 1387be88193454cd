// Package target starts an S3 server as a process, waits until it is ready,
// reads what it uses, and stops it. Every server is described the same way, so
// that a rival is started, measured and stopped as Cairn is.
package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cairnstore/cairn/harness/system"
)

// Launch says how to start one process.
type Launch struct {
	Name    string // for messages and the name of the log
	Binary  string
	Args    []string
	Env     []string // beside the caller's own PATH and HOME
	Address string   // host:port that it will serve on
	Ready   string   // path that answers 200 once it serves; empty: a connection is enough
	LogDir  string   // NAME.log is appended to here
}

// Bounds on a process's manners.
const (
	readyWithin = 60 * time.Second
	stopWithin  = 20 * time.Second
)

// A Process is a running server.
type Process struct {
	launch Launch
	cmd    *exec.Cmd
	log    *os.File
	ended  chan struct{}
	err    error // of its end; read after ended
}

// Start starts the process and returns when it is ready. It dies with this one.
func Start(ctx context.Context, l Launch) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(l.LogDir, l.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.Name, err)
	}
	p := &Process{launch: l, log: log, ended: make(chan struct{})}
	p.cmd = exec.Command(l.Binary, l.Args...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.LogDir}, l.Env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = ownGroup()
	if err := p.cmd.Start(); err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", l.Name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = log.Close()
		close(p.ended)
	}()
	if err := p.waitReady(ctx); err != nil {
		_ = p.Stop()
		return nil, fmt.Errorf("start %s: %w\n%s", l.Name, err, p.logTail())
	}
	return p, nil
}

func (p *Process) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		err := Probe(ctx, p.launch.Address, p.launch.Ready)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended before it was ready: %w", cmpError(p.err, errors.New("exit status 0")))
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w (%w)", err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func cmpError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// Probe asks once whether address serves: path must answer 200, or with no path
// a connection must be had.
func Probe(ctx context.Context, address, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if path == "" {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s answers %s", path, res.Status)
	}
	return nil
}

// PID is the process's ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Address is where it serves.
func (p *Process) Address() string { return p.launch.Address }

// Sample reads what it has used since it started.
func (p *Process) Sample() (system.Sample, error) { return system.Process(p.PID()) }

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop asks the process to end, and kills it if it does not within 20 s, which
// is an error, as is an end that was not asked for.
func (p *Process) Stop() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s had ended before it was stopped: %w\n%s", p.launch.Name, cmpError(p.err, errors.New("exit status 0")), p.logTail())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.launch.Name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopWithin):
	}
	p.Kill()
	return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.launch.Name, stopWithin)
}

// Kill ends the process without asking, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// logTail is the end of what the process wrote.
func (p *Process) logTail() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return ""
	}
	return string(text[max(0, len(text)-2000):])
}

// FreeAddress returns a loopback address that nothing listens on now.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}
