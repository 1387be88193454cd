package load

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Uploads are large objects, streamed one after the other at a bounded rate: the
// background that small requests have to live with.
type Uploads struct {
	Target  Target
	Bucket  string
	Prefix  string // of the keys
	Size    int64  // of each object
	Rate    int64  // bytes per second of all streams together; 0: as fast as it goes
	Streams int    // objects under way at once; default 1
	// Keys is how many names each stream uses in turn, so that a long run
	// overwrites and does not fill the drive; default 2.
	Keys int
	Seed uint64

	sent, objects, failed atomic.Int64
	mu                    struct {
		sync.Mutex
		first error
	}
}

// Sent is the bytes sent so far.
func (u *Uploads) Sent() int64 { return u.sent.Load() }

// Objects is the number of uploads acknowledged so far.
func (u *Uploads) Objects() int64 { return u.objects.Load() }

// Failed is the number of uploads that failed, and the first failure.
func (u *Uploads) Failed() (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed.Load(), u.mu.first
}

// Run uploads until ctx ends; uploads under way are then broken off.
func (u *Uploads) Run(ctx context.Context) error {
	if u.Size <= 0 || u.Rate < 0 {
		return errors.New("uploads: need a size, and a rate that is not negative")
	}
	for what, s := range map[string]string{"bucket": u.Bucket, "prefix": u.Prefix} {
		if err := plainName(what, s); err != nil {
			return fmt.Errorf("uploads: %w", err)
		}
	}
	streams, keys := max(u.Streams, 1), max(u.Keys, 2)
	random := rand.NewChaCha8(sha256.Sum256(binary.LittleEndian.AppendUint64([]byte("uploads"), u.Seed)))
	// Longer than a piece, so that pieces at other offsets have other bytes.
	noise := make([]byte, 2*piece)
	_, _ = random.Read(noise)

	var all sync.WaitGroup
	for i := range streams {
		all.Go(func() {
			s := stream{Uploads: u, conn: NewConn(ctx, u.Target), noise: noise, rate: float64(u.Rate) / float64(streams), due: time.Now()}
			defer s.conn.Close()
			for n := 0; ctx.Err() == nil; n++ {
				key := "/" + u.Bucket + "/" + u.Prefix + strconv.Itoa(i) + "-" + strconv.Itoa(n%keys)
				if err := s.put(ctx, key); err != nil && ctx.Err() == nil {
					s.fail(err)
					time.Sleep(100 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return nil
}

func (u *Uploads) fail(err error) {
	u.failed.Add(1)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mu.first == nil {
		u.mu.first = err
	}
}

// piece is how much of a body is written at a time.
const piece = 256 << 10

type stream struct {
	*Uploads
	conn  *Conn
	noise []byte
	rate  float64 // bytes per second; 0: no bound
	due   time.Time
}

// pace waits until n more bytes may be sent. A stream that was held up catches
// up on a quarter of a second at most.
func (s *stream) pace(n int64) {
	if s.rate == 0 {
		return
	}
	now := time.Now()
	if earliest := now.Add(-time.Second / 4); s.due.Before(earliest) {
		s.due = earliest
	}
	time.Sleep(s.due.Sub(now))
	s.due = s.due.Add(time.Duration(float64(n) / s.rate * float64(time.Second)))
}

// put sends one object with a payload that is not part of the signature, as
// clients do that do not know the sum before they send.
func (s *stream) put(ctx context.Context, path string) error {
	c := s.conn
	if c.nc == nil {
		if err := c.dial(); err != nil {
			return err
		}
	}
	c.res = response{}
	now := time.Now()
	b := append(c.out[:0], "PUT "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\n"...)
	b = c.signer.AppendHeaders(b, now, "PUT", []byte(path), nil, unsignedPayload)
	b = appendContentLength(b, s.Size)
	c.out = b
	err := s.send(ctx, b)
	switch {
	case err != nil:
		err = c.earlyAnswer(err)
	default:
		err = s.answer()
	}
	if err != nil && !reusable(err) || c.res.close {
		c.Close()
	}
	if err != nil {
		return fmt.Errorf("upload %s: %w", path, err)
	}
	s.objects.Add(1)
	return nil
}

func (s *stream) answer() error {
	c := s.conn
	if err := c.nc.SetDeadline(time.Now().Add(c.target.Timeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	if err := c.in.head(&c.res); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if c.res.status != 200 {
		return c.refusal()
	}
	_, err := c.in.body(&c.res, nothing{})
	return err
}

// send writes the head and the paced body. Each piece has the whole time-out.
func (s *stream) send(ctx context.Context, head []byte) error {
	write := func(p []byte) error {
		if err := s.conn.nc.SetDeadline(time.Now().Add(s.conn.target.Timeout)); err != nil {
			return err
		}
		_, err := s.conn.nc.Write(p)
		return err
	}
	if err := write(head); err != nil {
		return err
	}
	for at := int64(0); at < s.Size; {
		n := min(piece, s.Size-at)
		s.pace(n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Each piece begins at another place of the noise.
		from := int64(mix64(uint64(at))) & (piece - 1)
		if err := write(s.noise[from : from+n]); err != nil {
			return err
		}
		at += n
		s.sent.Add(n)
	}
	return nil
}
