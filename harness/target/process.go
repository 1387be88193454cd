// Package target starts an S3 server as a process, here or in a container, waits
// until it is ready, reads what it uses, and stops it. Every server is described
// the same way, so that a rival is started, measured and stopped as Cairn is.
package target

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
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
	Admin   string   // and where it will tell how it is; empty: nowhere
	Ready   string   // path that answers 200 once it serves; empty: a connection is enough
	Data    string   // directory that it works in, absolute; a container sees it under the same name
	LogDir  string   // NAME.log is appended to here
}

// A Runner runs processes somewhere: nil, where it can be left out, is beside this one.
type Runner interface {
	Run(ctx context.Context, l Launch) (Job, error)
}

// A Job is a process that was started.
type Job interface {
	PID() int // on this machine
	Signal(s syscall.Signal) error
	// Wait returns when it is gone: nil after an orderly end. It is called once.
	Wait() error
	// Log is the end of what it wrote.
	Log() string
	// Remove takes away what was made to run it. It is gone already.
	Remove() error
}

// Bounds on a process's manners.
const (
	readyWithin = 60 * time.Second
	stopWithin  = 20 * time.Second
)

// A Process is a running server.
type Process struct {
	launch Launch
	job    Job
	ended  chan struct{}
	err    error // of its end; read after ended
}

// Start starts the process and returns when it is ready. It dies with this one,
// unless it is in a container: those are swept (package container).
func Start(ctx context.Context, r Runner, l Launch) (*Process, error) {
	if r == nil {
		r = beside{}
	}
	job, err := r.Run(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", l.Name, err)
	}
	p := &Process{launch: l, job: job, ended: make(chan struct{})}
	go func() {
		p.err = job.Wait()
		close(p.ended)
	}()
	if err := p.waitReady(ctx); err != nil {
		log := job.Log()
		_ = p.Stop()
		return nil, fmt.Errorf("start %s: %w\n%s", l.Name, err, log)
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
	res, err := get(ctx, address, path)
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

// get asks once, over a connection of its own.
func get(ctx context.Context, address, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	r.Close = true
	return http.DefaultClient.Do(r)
}

// PID is the process's ID.
func (p *Process) PID() int { return p.job.PID() }

// Address is where it serves.
func (p *Process) Address() string { return p.launch.Address }

// Counter reads a counter without labels from the server's own /metrics.
func (p *Process) Counter(ctx context.Context, name string) (v float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := get(ctx, p.launch.Admin, "/metrics")
	if err != nil {
		return 0, fmt.Errorf("read counter %s of %s: %w", name, p.launch.Name, err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("%s has no counter %s at %s/metrics (%s)", p.launch.Name, name, p.launch.Admin, res.Status), lines.Err())
}

// Sample reads what it has used since it started.
func (p *Process) Sample() (system.Sample, error) { return system.Process(p.PID()) }

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop asks the process to end, and kills it if it does not within 20 s, which
// is an error, as is an end that was not asked for.
func (p *Process) Stop() error {
	select {
	case <-p.ended:
		log := p.job.Log()
		return errors.Join(fmt.Errorf("%s had ended before it was stopped: %w\n%s", p.launch.Name, cmpError(p.err, errors.New("exit status 0")), log), p.job.Remove())
	default:
	}
	if err := p.job.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.launch.Name, err)
	}
	select {
	case <-p.ended:
		return p.job.Remove()
	case <-time.After(stopWithin):
	}
	p.Kill()
	return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.launch.Name, stopWithin)
}

// Kill ends the process without asking, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.job.Signal(syscall.SIGKILL)
	<-p.ended
	_ = p.job.Remove()
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
