// Package sink is an empty server: it reads requests and answers each at once
// with the same bytes. What a load generator reaches against it is the
// generator's own ceiling; what it reaches against a real server means little
// unless it lies well below.
package sink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Answers are the bodies that a Sink gives: to every GET of an object, and to
// every GET of a bucket. All else is answered with an empty body, a DELETE by 204.
type Answers struct {
	Object, Page []byte
	// Delay is how long each answer takes; 0: none.
	Delay time.Duration
	// Stalls are times in which nothing is answered, in the order of their requests.
	Stalls []Stall
}

// A Stall begins when the sink has read so many requests, on all connections
// together, and lasts for a time. Requests that come meanwhile wait for its end.
type Stall struct {
	Request int64
	For     time.Duration
}

// A Sink answers on all connections of one listener.
type Sink struct {
	listener net.Listener
	object   []byte
	page     []byte
	delay    time.Duration
	stalls   []Stall

	requests, held atomic.Int64
	stalled        atomic.Pointer[stall] // the last one

	mu struct {
		sync.Mutex
		open   map[net.Conn]struct{}
		closed bool
	}
	all sync.WaitGroup
}

var (
	empty   = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	deleted = []byte("HTTP/1.1 204 No Content\r\n\r\n")
)

// New returns a sink that will serve on listener, which it owns from now on.
func New(listener net.Listener, answers Answers) *Sink {
	s := &Sink{listener: listener, object: answer(answers.Object), page: answer(answers.Page), delay: answers.Delay, stalls: answers.Stalls}
	s.mu.open = map[net.Conn]struct{}{}
	return s
}

func answer(body []byte) []byte {
	return append([]byte("HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
}

// Serve answers until Close.
func (s *Sink) Serve() error {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sink: accept: %w", err)
		}
		if s.add(conn) {
			s.all.Go(func() {
				defer s.remove(conn)
				_ = s.converse(conn) // a client that leaves or sends nonsense is let go
			})
		}
	}
}

func (s *Sink) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		_ = conn.Close()
		return false
	}
	s.mu.open[conn] = struct{}{}
	return true
}

func (s *Sink) remove(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.open, conn)
}

// Close ends the listener and all connections, and waits for them.
func (s *Sink) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	s.mu.closed = true
	for conn := range s.mu.open {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
	return err
}

func (s *Sink) converse(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 256<<10)
	for {
		reply, length, err := s.request(in)
		if err != nil {
			return err
		}
		if _, err := in.Discard(length); err != nil {
			return err
		}
		s.wait()
		if _, err := conn.Write(reply); err != nil {
			return err
		}
	}
}

// A stall is one that has begun.
type stall struct{ begun, until time.Time }

// wait is the delay before an answer.
func (s *Sink) wait() {
	if s.delay == 0 && len(s.stalls) == 0 {
		return
	}
	n := s.requests.Add(1)
	for _, one := range s.stalls {
		if one.Request == n {
			now := time.Now()
			s.stalled.Store(&stall{now, now.Add(one.For)})
		}
	}
	time.Sleep(s.delay)
	if st := s.stalled.Load(); st != nil {
		if left := time.Until(st.until); left > 0 {
			s.held.Add(1)
			time.Sleep(left)
		}
	}
}

// Held is how many requests have met a stall.
func (s *Sink) Held() int64 { return s.held.Load() }

// Stalled is when the last stall began and ended; zero before the first.
func (s *Sink) Stalled() (begun, ended time.Time) {
	if st := s.stalled.Load(); st != nil {
		return st.begun, st.until
	}
	return begun, ended
}

// request reads one request's head and says what answers it, and how many
// bytes of body follow.
func (s *Sink) request(in *bufio.Reader) (reply []byte, length int, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, 0, err
	}
	reply = s.reply(line)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, 0, err
		}
		if len(line) <= 2 {
			return reply, length, nil
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
			if err != nil || length < 0 {
				return nil, 0, errors.New("sink: bad content length")
			}
		}
	}
}

func (s *Sink) reply(requestLine []byte) []byte {
	method, rest, ok := bytes.Cut(requestLine, []byte(" /"))
	if !ok {
		return empty
	}
	switch string(method) {
	case "DELETE":
		return deleted
	case "GET":
		path, _, _ := bytes.Cut(rest, []byte(" "))
		path, _, _ = bytes.Cut(path, []byte("?"))
		if bytes.IndexByte(path, '/') < 0 {
			return s.page
		}
		return s.object
	}
	return empty
}

var _ io.Closer = (*Sink)(nil)
