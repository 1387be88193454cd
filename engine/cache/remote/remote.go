// Package remote is the cache's third tier: values in a Redis server that
// several nodes share.
//
// It costs a request nothing but the hit when Redis is slow, hung or dead: a
// Get waits for Options.Timeout at most, and after a few failures not at all,
// until a probe in the background has had an answer. Gets that come together
// share one round trip. Sets are queued, and dropped where the queue is full.
//
//	Get -> lane (gathers) -> one pipeline of GETs -> verify
//	Set -> queue -> one pipeline of SETs
//	breaker: closed -> failures -> open -> probe -> closed
//
// What comes back is trusted as little as a drive is: each value travels in a
// frame with its whole key and a checksum, and what is not exactly that is a
// miss, counted and removed.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Bounds of a key's length in bytes.
const (
	MinKey = 8
	MaxKey = 64
)

const (
	lanes      = 4  // round trips of gets under way at once
	laneKeys   = 16 // gets in one of them, at most
	laneQueue  = 64 // gets that wait for one, at most
	queueItems = 4096
	sendItems  = 64 // sets in one round trip, at most
	sendBytes  = 1 << 20
	opensAfter = 3 // failures in a row
)

// Options configure a Cache. Zero fields take the default named.
type Options struct {
	// URL of the server: redis://user:password@host:port/db, or rediss:// for
	// TLS. Parameters of the query set what go-redis' ParseURL knows; time-outs,
	// retries and the pool's bounds are this package's.
	URL string
	// Namespace, the store's identity, comes before every key, so that several
	// stores may share a server.
	Namespace string
	Logger    *slog.Logger // slog.Default

	Timeout    time.Duration // the longest that a Get waits; 5 ms
	SetTimeout time.Duration // of dialling and of a round trip that no request waits for; 100 ms
	TTL        time.Duration // after which Redis forgets a value; 0: when it needs the room
	MaxValue   int           // the largest value kept; 1 MiB, at most 4 MiB
	QueueBytes int64         // of values that wait to be sent; 16 MiB
	ProbeMin   time.Duration // first pause between probes while open; 50 ms
	ProbeMax   time.Duration // to which it doubles; 5 s
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&o.Timeout, 5*time.Millisecond)
	def(&o.SetTimeout, 100*time.Millisecond)
	def(&o.ProbeMin, 50*time.Millisecond)
	def(&o.ProbeMax, 5*time.Second)
	if o.MaxValue == 0 {
		o.MaxValue = 1 << 20
	}
	if o.QueueBytes == 0 {
		o.QueueBytes = 16 << 20
	}
	return o
}

func (o *Options) validate() error {
	switch {
	case o.Namespace == "":
		return errors.New("remote: Options.Namespace must be set: stores that share a server must not share keys")
	case o.MaxValue < 1 || o.MaxValue > 4<<20:
		return fmt.Errorf("remote: MaxValue %d: must be 1 to %d", o.MaxValue, 4<<20)
	case o.Timeout < 0 || o.SetTimeout < 0 || o.TTL < 0 || o.ProbeMin < 0 || o.ProbeMax < o.ProbeMin:
		return errors.New("remote: a negative time")
	case o.QueueBytes < int64(o.MaxValue):
		return fmt.Errorf("remote: QueueBytes %d: must have room for one value of %d", o.QueueBytes, o.MaxValue)
	}
	return nil
}

// client makes go-redis' own waiting as short as this package's, and leaves
// retries to chance: a cache that asks twice is slower than one that misses.
func (o *Options) client() (*redis.Client, error) {
	r, err := redis.ParseURL(o.URL)
	if err != nil {
		// The library's own words repeat the URL, and it may hold a password.
		return nil, errors.New("remote: the URL is none of a Redis server, as redis://user:password@host:6379/0 or rediss:// for TLS")
	}
	r.MaxRetries = -1
	r.DialerRetries = 1
	r.DialTimeout, r.ReadTimeout, r.WriteTimeout, r.PoolTimeout = o.SetTimeout, o.SetTimeout, o.SetTimeout, o.SetTimeout
	r.ContextTimeoutEnabled = true // gets are shorter
	r.PoolSize, r.MaxActiveConns, r.MinIdleConns = lanes+2, lanes+2, 0
	r.Protocol = 2 // nothing of 3 is used, and a server of any age speaks it
	r.DisableIdentity = true
	r.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	bound(r)
	return redis.NewClient(r), nil
}

// A Cache keeps values in Redis. Safe for concurrent use.
type Cache struct {
	opt     Options
	prefix  string
	client  *redis.Client
	breaker breaker
	gets    chan *get
	writes  chan write
	queued  atomic.Int64 // bytes in writes
	stats   counters

	closing sync.Once
	quit    context.Context // canceled by Close
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// silent takes go-redis' own log lines, one for each dial that fails: the
// breaker says once what matters. Only this package links go-redis.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

var silence = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

// Open begins to connect and does not wait for it: until there is an answer,
// everything is a miss. It fails where the options are wrong.
func Open(opt Options) (*Cache, error) {
	opt = opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	silence()
	client, err := opt.client()
	if err != nil {
		return nil, err
	}
	c := &Cache{
		opt: opt, client: client, prefix: "cairn:" + opt.Namespace + ":",
		gets: make(chan *get, laneQueue), writes: make(chan write, queueItems),
	}
	c.quit, c.cancel = context.WithCancel(context.Background())
	c.breaker.init(c)
	c.running.Go(c.breaker.probe)
	c.running.Go(c.send)
	for range lanes {
		c.running.Go(c.lane)
	}
	return c, nil
}

// A get is one that waits for a lane.
type get struct {
	key  string        // as Redis knows it
	done chan struct{} // closed when value is set
	// value is the frame as it came; empty: there is none.
	value []byte
}

// Get appends the value to dst. A miss, an error, a damaged value, a time-out
// and a canceled context are all (dst, false).
func (c *Cache) Get(ctx context.Context, key, dst []byte) ([]byte, bool) {
	if c.breaker.open.Load() || ctx.Err() != nil || len(key) < MinKey || len(key) > MaxKey {
		c.stats.misses.Add(1)
		return dst, false
	}
	g := &get{key: c.prefix + string(key), done: make(chan struct{})}
	timer := time.NewTimer(c.opt.Timeout)
	defer timer.Stop()
	select {
	case c.gets <- g:
	default: // all lanes are behind: to wait longer than they do is no use
		c.stats.crowded.Add(1)
		c.stats.misses.Add(1)
		return dst, false
	}
	select {
	case <-g.done:
	case <-timer.C:
		c.stats.timeouts.Add(1)
		c.stats.misses.Add(1)
		return dst, false
	case <-ctx.Done():
		c.stats.misses.Add(1)
		return dst, false
	}
	if len(g.value) == 0 {
		c.stats.misses.Add(1)
		return dst, false
	}
	value, err := decodeFrame(g.value, key)
	if err != nil {
		c.stats.invalid.Add(1)
		c.stats.misses.Add(1)
		c.enqueue(write{key: g.key}) // or nothing could take its place
		return dst, false
	}
	c.stats.hits.Add(1)
	c.stats.hitBytes.Add(int64(len(value)))
	return append(dst, value...), true
}

// lane answers gets, as many at once as are there.
func (c *Cache) lane() {
	batch := make([]*get, 0, laneKeys)
	for {
		batch = batch[:0]
		select {
		case g := <-c.gets:
			batch = append(batch, g)
		case <-c.quit.Done():
			return
		}
	more:
		for len(batch) < laneKeys {
			select {
			case g := <-c.gets:
				batch = append(batch, g)
			default:
				break more
			}
		}
		if !c.breaker.open.Load() {
			c.fetch(batch)
		}
		for _, g := range batch {
			close(g.done)
		}
	}
}

// fetch is one round trip.
func (c *Cache) fetch(batch []*get) {
	ctx, cancel := context.WithTimeout(c.quit, c.opt.Timeout)
	defer cancel()
	p := c.client.Pipeline()
	answers := make([]*redis.StringCmd, len(batch))
	for i, g := range batch {
		answers[i] = p.Get(ctx, g.key)
	}
	_, err := p.Exec(ctx)
	c.stats.trips.Add(1)
	if refused(err) {
		err = nil // one answer is an error, and the others may be values
	}
	for i, a := range answers {
		switch value, e := a.Bytes(); {
		case e == nil:
			batch[i].value = value
		case errors.Is(e, redis.Nil):
		case redis.HasErrorPrefix(e, "WRONGTYPE"): // no value of ours
			c.stats.invalid.Add(1)
			c.enqueue(write{key: batch[i].key})
		case errors.Is(e, errReply): // one of these, or a server that talks nonsense
			c.stats.invalid.Add(1)
			c.enqueue(write{key: batch[i].key})
			err = e
		default:
			err = e
		}
	}
	if err != nil {
		c.stats.errors.Add(1)
		c.breaker.failed(err)
		return
	}
	c.breaker.succeeded()
}

// refused reports whether the server has answered, and an answer is an error.
func refused(err error) bool {
	answer := redis.Error(nil)
	return errors.As(err, &answer)
}

// A write is a set, or a delete where it has no frame.
type write struct {
	key   string
	frame []byte
}

// Set sends a value, soon, or drops it: where the queue is full or Redis is
// not there. What Redis has of the key stays, since a key has one value for
// ever. It borrows key and value until it returns.
func (c *Cache) Set(key, value []byte) {
	switch {
	case len(key) < MinKey || len(key) > MaxKey || len(value) < 1 || len(value) > c.opt.MaxValue:
		c.stats.droppedSize.Add(1)
	case c.breaker.open.Load():
		c.stats.droppedOpen.Add(1)
	case c.queued.Load() >= c.opt.QueueBytes:
		c.stats.droppedFull.Add(1)
	default:
		if c.enqueue(write{c.prefix + string(key), encodeFrame(key, value)}) {
			c.stats.sets.Add(1)
			c.stats.setBytes.Add(int64(len(value)))
		} else {
			c.stats.droppedFull.Add(1)
		}
	}
}

// Delete removes a value, soon. It saves memory and nothing hangs on it: a
// key's value is the right one for ever.
func (c *Cache) Delete(key []byte) {
	if c.enqueue(write{key: c.prefix + string(key)}) {
		c.stats.deletes.Add(1)
	}
}

func (c *Cache) enqueue(w write) bool {
	if c.breaker.open.Load() {
		return false
	}
	c.queued.Add(int64(len(w.frame)))
	select {
	case c.writes <- w:
		return true
	default:
		c.queued.Add(-int64(len(w.frame)))
		return false
	}
}

// send takes writes from the queue, in order, as many at once as are there.
func (c *Cache) send() {
	batch := make([]write, 0, sendItems)
	for {
		clear(batch)
		batch = batch[:0]
		select {
		case w := <-c.writes:
			batch = append(batch, w)
		case <-c.quit.Done():
			return
		}
		size := len(batch[0].frame)
	more:
		for len(batch) < sendItems && size < sendBytes {
			select {
			case w := <-c.writes:
				batch = append(batch, w)
				size += len(w.frame)
			default:
				break more
			}
		}
		if c.breaker.open.Load() {
			c.stats.lost.Add(int64(len(batch)))
		} else {
			c.sendBatch(batch)
		}
		c.queued.Add(-int64(size))
	}
}

func (c *Cache) sendBatch(batch []write) {
	ctx, cancel := context.WithTimeout(c.quit, c.opt.SetTimeout)
	defer cancel()
	p := c.client.Pipeline()
	for _, w := range batch {
		if w.frame == nil {
			p.Unlink(ctx, w.key)
		} else {
			p.SetNX(ctx, w.key, w.frame, c.opt.TTL)
		}
	}
	answers, err := p.Exec(ctx)
	c.stats.trips.Add(1)
	if err == nil {
		c.breaker.succeeded()
		return
	}
	for _, a := range answers {
		if a.Err() != nil {
			c.stats.lost.Add(1)
		}
	}
	c.stats.errors.Add(1)
	// What Redis refuses, as when it is full, says nothing of reads.
	if !refused(err) {
		c.breaker.failed(err)
	}
}

// Close drops what is queued and returns when nothing runs any more. Get and
// Set after it do nothing.
func (c *Cache) Close() error {
	var err error
	c.closing.Do(func() {
		c.breaker.open.Store(true)
		c.cancel()
		c.running.Wait()
		err = c.client.Close()
	})
	return err
}
