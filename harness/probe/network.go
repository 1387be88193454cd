package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/cairnstore/cairn/harness/measure"
)

// The peer's protocol: a client says in one line what it wants of a connection,
// then bytes flow until it closes or its time is over.
const (
	greeting  = "cairn-probe/1 "
	wantEcho  = "echo" // what comes is sent back
	wantSink  = "sink" // what comes is thrown away
	wantFlood = "flood"
)

// Bounds of the peer.
const (
	maxPeerConns = 256
	maxPeerTime  = 30 * time.Second
	maxGreeting  = 64
)

// parseGreeting reads a client's line, without its end.
func parseGreeting(line string) (want string, err error) {
	want, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), greeting)
	if !ok {
		return "", errors.New("the other end does not speak the probe's protocol")
	}
	switch want {
	case wantEcho, wantSink, wantFlood:
		return want, nil
	}
	return "", fmt.Errorf("no service %.20q", want)
}

// Serve is the other end of the network's measurement. It serves until ctx
// ends: at most 256 connections at once, each for 30 s at most.
func Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	room := make(chan struct{}, maxPeerConns)
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("probe serve: %w", err)
		}
		all.Go(func() {
			defer func() { <-room }()
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			serveOne(conn)
		})
	}
}

func serveOne(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(maxPeerTime)) != nil {
		return
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	line, err := in.ReadSlice('\n')
	if err != nil || len(line) > maxGreeting {
		return
	}
	want, err := parseGreeting(string(line))
	if err != nil {
		return
	}
	b := make([]byte, 256<<10)
	switch want {
	case wantEcho:
		for {
			n, err := in.Read(b)
			if err != nil {
				return
			}
			if _, err := conn.Write(b[:n]); err != nil {
				return
			}
		}
	case wantSink:
		_, _ = io.CopyBuffer(onlyWriter{}, in, b)
	case wantFlood:
		for {
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	}
}

// onlyWriter hides io.Discard's ReadFrom, which reads in smaller pieces.
type onlyWriter struct{}

func (onlyWriter) Write(p []byte) (int, error) { return len(p), nil }

// ask connects for one service.
func ask(address, want string, within time.Duration) (net.Conn, time.Duration, error) {
	before := time.Now()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, 0, err
	}
	took := time.Since(before)
	if err := conn.SetDeadline(time.Now().Add(within + 5*time.Second)); err != nil {
		return nil, 0, errors.Join(err, conn.Close())
	}
	if _, err := io.WriteString(conn, greeting+want+"\n"); err != nil {
		return nil, 0, errors.Join(err, conn.Close())
	}
	return conn, took, nil
}

// measureNetwork measures the way to a peer that serves at address.
func measureNetwork(path, address string, slice time.Duration) (n Network, err error) {
	n.Path = path
	connects := measure.NewHistogram()
	for range 20 {
		conn, took, err := ask(address, wantEcho, 0)
		if err != nil {
			return n, err
		}
		_ = conn.Close()
		connects.Record(took)
	}
	n.ConnectP50US = round(measure.Micros(connects.Quantile(.5)))
	for _, c := range []int{1, 16} {
		r, err := roundTrips(address, c, slice)
		if err != nil {
			return n, fmt.Errorf("round trips: %w", err)
		}
		n.RoundTrips = append(n.RoundTrips, r)
	}
	for _, direction := range []string{"send", "receive"} {
		for _, c := range []int{1, 4} {
			s, err := stream(address, direction, c, slice/2)
			if err != nil {
				return n, fmt.Errorf("stream: %w", err)
			}
			n.Streams = append(n.Streams, s)
		}
	}
	return n, nil
}

// dialAll opens as many connections for one service.
func dialAll(address, want string, count int, within time.Duration) (conns []net.Conn, err error) {
	for range count {
		conn, _, err := ask(address, want, within)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

func roundTrips(address string, count int, d time.Duration) (r RoundTrip, err error) {
	conns, err := dialAll(address, wantEcho, count, d)
	if err != nil {
		return r, err
	}
	defer closeAll(conns)
	merged, mu, failed := measure.NewHistogram(), sync.Mutex{}, error(nil)
	var all sync.WaitGroup
	start := time.Now()
	for _, conn := range conns {
		all.Go(func() {
			own := measure.NewHistogram()
			var message [64]byte
			var err error
			for err == nil && time.Since(start) < d {
				before := time.Now()
				if _, err = conn.Write(message[:]); err == nil {
					if _, err = io.ReadFull(conn, message[:]); err == nil {
						own.Record(time.Since(before))
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			merged.Merge(own)
		})
	}
	all.Wait()
	return RoundTrip{
		Connections: count, PerS: round(float64(merged.Count()) / time.Since(start).Seconds()),
		P50US: round(measure.Micros(merged.Quantile(.5))), P99US: round(measure.Micros(merged.Quantile(.99))),
	}, failed
}

// stream moves bytes one way, for d and until the last one sent has been read.
func stream(address, direction string, count int, d time.Duration) (s Stream, err error) {
	want := wantSink
	if direction == "receive" {
		want = wantFlood
	}
	conns, err := dialAll(address, want, count, d)
	if err != nil {
		return s, err
	}
	defer closeAll(conns)
	var mu sync.Mutex
	var failed error
	var total int64
	var all sync.WaitGroup
	start := time.Now()
	for _, conn := range conns {
		all.Go(func() {
			b := make([]byte, 256<<10)
			var moved int64
			var err error
			for err == nil && time.Since(start) < d {
				var n int
				if want == wantSink {
					n, err = conn.Write(b)
				} else {
					n, err = conn.Read(b)
				}
				moved += int64(n)
			}
			if want == wantSink && err == nil {
				err = drained(conn)
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			total += moved
		})
	}
	all.Wait()
	return Stream{Connections: count, Direction: direction, GBPerS: round(float64(total) / 1e9 / time.Since(start).Seconds())}, failed
}

// drained waits until the peer has read all: what only lies in the sockets' buffers,
// megabytes that a slow way needs seconds for, has not been sent.
func drained(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(maxPeerTime)); err != nil {
		return err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.CloseWrite(); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, conn) // a sink sends nothing, and closes after the last byte
	return err
}
