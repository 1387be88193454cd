// Package redistest runs real Redis servers for tests, and kills, stops and
// starts them as such things happen.
package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A Server is a redis-server on a port of this machine. It keeps nothing on a drive.
type Server struct {
	t    testing.TB
	dir  string
	port string
	cmd  *exec.Cmd
}

// Start runs a server until the test's end. It skips the test where there is no
// Redis; with CI=true that is a failure.
func Start(t testing.TB) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		what := "redis-server is not installed; ci/setup installs it"
		if os.Getenv("CI") == "true" {
			t.Fatal(what)
		}
		t.Skip("SKIPPED: " + what)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	s := &Server{t: t, dir: t.TempDir(), port: port}
	s.Run()
	t.Cleanup(s.Kill)
	return s
}

// URL is what clients are told.
func (s *Server) URL() string { return "redis://:secret@127.0.0.1:" + s.port + "/0" }

// Run starts the server, at first or after Kill, and waits until it answers.
func (s *Server) Run() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", "--port", s.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", s.dir, "--requirepass", "secret")
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 1000 {
		if s.answers() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("redis-server does not answer")
}

func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+s.port, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = fmt.Fprint(c, "AUTH secret\r\nPING\r\n")
	b := make([]byte, len("+OK\r\n+PONG\r\n"))
	n := 0
	for n < len(b) {
		k, err := c.Read(b[n:])
		if err != nil {
			return false
		}
		n += k
	}
	return string(b) == "+OK\r\n+PONG\r\n"
}

// Hang stops the server as it stands: its connections stay, and nothing answers.
func (s *Server) Hang() { s.signal(syscall.SIGSTOP) }

// Continue ends Hang.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Kill is SIGKILL, which also ends a server that hangs. What it kept is lost.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}
