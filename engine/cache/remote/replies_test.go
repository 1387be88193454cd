package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake is a server that answers as Redis does, but for GETs of its callers' keys. What it
// answers comes late by delay.
func fake(t *testing.T, reply string, delay time.Duration) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	serve := func(c net.Conn) {
		defer c.Close()
		lines := bufio.NewScanner(c)
		command := ""
		for lines.Scan() {
			word := strings.ToLower(lines.Text())
			switch {
			case word == "get" || word == "ping":
				command = word
			case command == "get" && strings.HasPrefix(word, "cairn:"):
				time.Sleep(delay)
				if strings.HasSuffix(word, ":probe") && delay == 0 {
					_, _ = io.WriteString(c, "$-1\r\n")
				} else {
					_, _ = io.WriteString(c, reply)
				}
			}
			if answer := map[string]string{"ping": "+PONG\r\n", "hello": "-ERR unknown command\r\n", "client": "+OK\r\n"}[word]; answer != "" {
				_, _ = io.WriteString(c, answer)
			}
		}
	}
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serve(c) })
		}
	})
	return "redis://" + l.Addr().String()
}

// A server that announces more than there can be costs a failure, and not the process.
func TestWildReplies(t *testing.T) {
	for _, reply := range []string{
		"$9223372036854775807\r\nx", "$1099511627776000\r\nx", "$99999999999999999999999999\r\nx", "=9223372036854775800\r\nx",
		"*9223372036854775807\r\n", "!9223372036854775807\r\n", "%4611686018427387904\r\n", "+" + strings.Repeat("x", 1<<20), "$-1000\r\n", "?\r\n",
	} {
		c, err := Open(Options{URL: fake(t, reply, 0), Namespace: "n", Logger: slog.New(slog.DiscardHandler), Timeout: time.Second, SetTimeout: 10 * time.Second})
		require.NoError(t, err)
		require.Eventually(t, func() bool { return !c.Stats().Open }, 10*time.Second, time.Millisecond)
		_, found := c.Get(ctx, key(1), nil)
		require.False(t, found, "%.40q", reply)
		require.NoError(t, c.Close())
	}
}

// Replies that are within bounds pass as they are, however they are cut into pieces.
func TestReader(t *testing.T) {
	var all bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		switch r.IntN(5) {
		case 0:
			fmt.Fprintf(&all, "+OK %d\r\n", r.Uint64())
		case 1:
			all.WriteString("$-1\r\n")
		case 2:
			all.WriteString("$0\r\n\r\n")
		case 3:
			fmt.Fprintf(&all, "*%d\r\n:99999999999999999\r\n", r.IntN(9))
		case 4: // bytes that look like a header out of bounds
			body := strings.Repeat("$99999999999\r\n", r.IntN(20)) + strings.Repeat("\n$", r.IntN(3))
			fmt.Fprintf(&all, "$%d\r\n%s\r\n", len(body), body)
		}
	}
	for range 50 {
		var x reader
		for rest := all.Bytes(); len(rest) > 0; {
			n := min(1+r.IntN(40), len(rest))
			require.NoError(t, x.take(rest[:n]))
			rest = rest[n:]
		}
		require.Zero(t, x.line)
		require.Zero(t, x.skip)
		require.Error(t, x.take(fmt.Appendf(nil, "$%d\r\n", mostReply+1)))
	}
}

// A key of another type is nobody's value: it is removed, and costs the others nothing.
func TestAnotherType(t *testing.T) {
	s := startRedis(t)
	c := s.open(s.options())
	defer c.Close()
	direct := s.direct()
	require.NoError(t, direct.LPush(ctx, c.prefix+string(key(1)), "x").Err())
	c.Set(key(2), value(2))
	arrived(t, c)
	batch := []*get{{key: c.prefix + string(key(1))}, {key: c.prefix + string(key(2))}}
	c.fetch(batch)
	require.Empty(t, batch[0].value)
	require.NotEmpty(t, batch[1].value, "a good value of the same round trip")
	require.Eventually(t, func() bool { return direct.Exists(ctx, c.prefix+string(key(1))).Val() == 0 }, 10*time.Second, time.Millisecond)
	for range 2 * opensAfter {
		require.NoError(t, direct.LPush(ctx, c.prefix+string(key(3)), "x").Err())
		require.False(t, has(t, c, 3))
	}
	require.False(t, c.Stats().Open)
	require.Zero(t, c.Stats().Opens)
	arrived(t, c)
	c.Set(key(3), value(3))
	arrived(t, c)
	require.True(t, has(t, c, 3))
}

// Who may not GET is as good as dead: it is told once, and asked less and less.
func TestARefusedUserStaysOut(t *testing.T) {
	s := startRedis(t)
	require.NoError(t, s.direct().Do(ctx, "ACL", "SETUSER", "u", "on", ">p", "~*", "+ping", "+set", "+select").Err())
	o := s.options()
	var log lockedBuffer
	o.URL, o.Logger = strings.Replace(o.URL, ":secret@", "u:p@", 1), slog.New(slog.NewTextHandler(&log, nil))
	c, err := Open(o)
	require.NoError(t, err)
	for until := time.Now().Add(time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		require.False(t, has(t, c, 1))
	}
	require.True(t, c.Stats().Open)
	require.NoError(t, c.Close())
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "%s", log.String())
	require.Contains(t, log.String(), "NOPERM")
}

// A server that answers pings in time and gets too late is left out: it could never hit.
func TestAFarServerStaysOut(t *testing.T) {
	var log lockedBuffer
	c, err := Open(Options{URL: fake(t, "$-1\r\n", 50*time.Millisecond), Namespace: "n", Timeout: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "does not answer") }, 10*time.Second, time.Millisecond)
	for range 300 {
		require.False(t, has(t, c, 1))
		time.Sleep(time.Millisecond)
	}
	require.Zero(t, c.Stats().Timeouts, "nobody has waited")
	require.NoError(t, c.Close())
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "%s", log.String())
}

// A server whose probes are answered and whose gets are not: each closing of the breaker is
// later than the one before, and nothing but the first is told.
func TestTheBreakerDoesNotFlap(t *testing.T) {
	var log lockedBuffer
	c, err := Open(Options{URL: fake(t, "-ERR no\r\n", 0), Namespace: "n", Timeout: time.Second, SetTimeout: 10 * time.Second, ProbeMin: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Microsecond) {
		require.False(t, has(t, c, 1))
	}
	require.NoError(t, c.Close())
	require.Positive(t, c.Stats().Opens)
	require.Less(t, c.Stats().Opens, int64(12)) // 20, 40, 80, … ms
	require.LessOrEqual(t, strings.Count(log.String(), "\n"), 3, "%s", log.String())
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("$5\r\nhello\r\n"), uint8(3))
	f.Add([]byte("$-1\r\n*2\r\n:1\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, all []byte, cut uint8) {
		var whole, parts reader
		want := whole.take(all)
		var got error
		for rest := all; len(rest) > 0 && got == nil; {
			n := min(1+int(cut), len(rest))
			got = parts.take(rest[:n])
			rest = rest[n:]
		}
		require.Equal(t, want, got)
		if want == nil {
			require.Equal(t, whole, parts)
			require.LessOrEqual(t, whole.skip, int64(mostReply+2))
		}
	})
}
