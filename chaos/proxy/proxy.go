// Package proxy is a TCP proxy that ill-treats what passes: it delays, slows
// down, withholds, resets or cuts off. It stands between a load and a server,
// and stays at its address while the server behind it comes and goes.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Conditions are what the line does to what passes, in both directions. The
// zero value lets everything pass as it comes.
type Conditions struct {
	// Cut lets nothing pass: what is sent waits, as do new connections, until
	// the line is whole again or the sender gives up. Nobody is told.
	Cut bool
	// Delay is added to each piece, on its way there and on its way back.
	Delay time.Duration
	// Loss is the share of pieces, 0 to 1, that get through only when they are
	// sent again, Retransmit later, with all that follows waiting behind them. A proxy
	// of TCP can't lose a packet; this is what an application sees of a loss.
	Loss       float64
	Retransmit time.Duration // 0: 200 ms, Linux's least
	// Reset is the chance, 0 to 1, that a piece ends its connection with RST
	// on both sides instead of passing.
	Reset float64
	// Rate bounds each direction of each connection, in bytes per second; 0: no bound.
	Rate int64
}

// Counts are what was done so far.
type Counts struct {
	Connections int64 `json:"connections"`
	Refused     int64 `json:"refused"` // since nothing listened behind
	Bytes       int64 `json:"bytes"`   // passed, both ways
	Delayed     int64 `json:"delayed"` // pieces
	Withheld    int64 `json:"withheld"`
	Held        int64 `json:"held"` // pieces and connections that met a cut
	Reset       int64 `json:"reset"`
	Slowed      int64 `json:"slowed"`
}

// pieceSize is the most that passes in one go, queued how many of them may be
// under way in one direction.
const (
	pieceSize = 16 << 10
	queued    = 64
)

// A Proxy forwards connections. Safe for concurrent use.
type Proxy struct {
	listener net.Listener
	all      sync.WaitGroup
	stop     context.Context
	cancel   context.CancelFunc

	connections, refused, bytes, delayed, withheld, held, reset, slowed atomic.Int64

	mu struct {
		sync.Mutex
		life       int // of the server behind it
		upstream   string
		conditions Conditions
		changed    chan struct{} // closed when the conditions change
		random     *rand.Rand
	}
}

// Listen opens a proxy at a free loopback port. Chance follows from the seed,
// as far as the order of what passes does.
func Listen(seed uint64) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{listener: l}
	p.stop, p.cancel = context.WithCancel(context.Background())
	p.mu.changed = make(chan struct{})
	p.mu.random = rand.New(rand.NewPCG(seed, 0x70726f7879))
	p.all.Go(p.accept)
	return p, nil
}

// Address is where clients connect.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Forward names the server for connections from now on; "" refuses them.
func (p *Proxy) Forward(upstream string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.upstream = upstream
}

// Anew says that the server's process has ended, before the next one begins: what has come
// for it, and waits for the line, is not delivered to that.
func (p *Proxy) Anew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.life++
}

// Set changes the conditions, for what is under way too.
func (p *Proxy) Set(c Conditions) {
	if c.Retransmit == 0 {
		c.Retransmit = 200 * time.Millisecond
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.conditions = c
	close(p.mu.changed)
	p.mu.changed = make(chan struct{})
}

// Counts returns what was done so far.
func (p *Proxy) Counts() Counts {
	return Counts{
		Connections: p.connections.Load(), Refused: p.refused.Load(), Bytes: p.bytes.Load(), Delayed: p.delayed.Load(),
		Withheld: p.withheld.Load(), Held: p.held.Load(), Reset: p.reset.Load(), Slowed: p.slowed.Load(),
	}
}

// Close ends all connections and waits for them.
func (p *Proxy) Close() {
	p.cancel()
	_ = p.listener.Close()
	p.all.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if p.stop.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(time.Millisecond) // no descriptor to be had, say
			continue
		}
		p.all.Go(func() { p.serve(client.(*net.TCPConn)) })
	}
}

// conditions returns those of now, and a channel that tells when they change.
func (p *Proxy) conditions() (Conditions, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.conditions, p.mu.changed
}

func (p *Proxy) happens(chance float64) bool {
	if chance <= 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.random.Float64() < chance
}

// passes waits while the line is cut. False: the proxy or the connection ended.
func (p *Proxy) passes(ended context.Context) bool {
	for first := true; ; first = false {
		c, changed := p.conditions()
		if !c.Cut {
			return ended.Err() == nil
		}
		if first {
			p.held.Add(1)
		}
		select {
		case <-changed:
		case <-ended.Done():
			return false
		}
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	p.connections.Add(1)
	ctx, end := context.WithCancel(p.stop)
	defer end()
	defer func() { _ = client.Close() }()
	p.mu.Lock()
	life := p.mu.life
	p.mu.Unlock()
	if !p.passes(ctx) {
		return
	}
	p.mu.Lock()
	upstream := p.mu.upstream
	if life != p.mu.life {
		upstream = ""
	}
	p.mu.Unlock()
	nc, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", upstream)
	if upstream == "" || err != nil {
		if nc != nil {
			_ = nc.Close()
		}
		p.refused.Add(1)
		_ = client.SetLinger(0)
		return
	}
	server := nc.(*net.TCPConn)
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })()

	var both sync.WaitGroup
	both.Go(func() { p.pump(ctx, end, client, server) })
	both.Go(func() { p.pump(ctx, end, server, client) })
	both.Wait()
}

// A piece is what was read in one go, and when.
type piece struct {
	at   time.Time
	data []byte
}

// pump forwards one direction: it reads on while earlier pieces are delayed, as a
// long line holds many of them.
func (p *Proxy) pump(ctx context.Context, end context.CancelFunc, from, to *net.TCPConn) {
	line := make(chan piece, queued)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(line)
		for {
			buf := make([]byte, pieceSize)
			n, err := from.Read(buf)
			if n > 0 {
				select {
				case line <- piece{time.Now(), buf[:n]}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for piece := range line {
		if !p.deliver(ctx, piece, from, to) {
			end() // closes both
			break
		}
	}
	for range line { // ends, for both are closed or the sender has ended
	}
	reader.Wait()
	_ = to.CloseWrite() // the other direction may have more to say
}

func (p *Proxy) deliver(ctx context.Context, piece piece, from, to *net.TCPConn) bool {
	c, _ := p.conditions()
	if p.happens(c.Reset) {
		p.reset.Add(1)
		_, _ = from.SetLinger(0), to.SetLinger(0)
		return false
	}
	at := piece.at.Add(c.Delay)
	if c.Delay > 0 {
		p.delayed.Add(1)
	}
	if p.happens(c.Loss) {
		p.withheld.Add(1)
		at = time.Now().Add(c.Delay + c.Retransmit)
	}
	if !pause(ctx, time.Until(at)) || !p.passes(ctx) {
		return false
	}
	for data := piece.data; len(data) > 0; {
		part := data
		if c, _ = p.conditions(); c.Rate > 0 {
			p.slowed.Add(1)
			part = data[:min(len(data), max(1, int(c.Rate/20)))]
			if !pause(ctx, time.Duration(float64(len(part))/float64(c.Rate)*float64(time.Second))) {
				return false
			}
		}
		if _, err := to.Write(part); err != nil {
			return false
		}
		p.bytes.Add(int64(len(part)))
		data = data[len(part):]
	}
	return true
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
