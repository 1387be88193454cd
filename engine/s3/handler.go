package s3

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/object"
)

// An Authenticator says who calls. *auth.Verifier is one.
type Authenticator interface {
	// Verify checks a request's header or query signature. A request without
	// any is Anonymous, not an error.
	Verify(*http.Request) (*auth.Request, error)
	// VerifyPost checks a POST form: its fields, with names in lower case, and
	// the bucket that it is sent to.
	VerifyPost(fields map[string]string, bucket string) (*auth.Post, error)
}

// A Record is what is told of one request.
type Record struct {
	RequestID   string
	Operation   string // S3's name, as PutObject
	Bucket, Key string
	AccessKey   string // "" where nobody was recognised
	Status      int
	Code        string // S3's error code; empty without one
	Err         error  // its cause
	In, Out     int64  // bytes of payload received and sent
	Duration    time.Duration
	Request     *http.Request
}

// An Observer is told of each request's beginning and end; metrics and access
// logs hang here. Safe for concurrent use.
type Observer interface {
	Started()
	// Finished borrows the record until it returns.
	Finished(*Record)
}

// An Owner is the one who owns all buckets and objects.
type Owner struct{ ID, DisplayName string }

// Options configure a Handler. API and Auth must be given.
type Options struct {
	API  object.API
	Auth Authenticator
	// Region is told to who asks, and the only one in which a bucket may be made. When
	// empty, any may be asked for, and "us-east-1" is told.
	Region string
	// Domains are the base domains of virtual-host style requests: with
	// "s3.example.com", the host "photos.s3.example.com" names the bucket photos.
	Domains []string
	// Origins are whose pages may read answers in browsers; cors.go has their forms.
	Origins  []string
	Logger   *slog.Logger // nil: slog.Default
	Observer Observer     // nil: nobody
	// MaxConcurrent bounds the requests served at once; over it they get 503
	// SlowDown. 0: 1024.
	MaxConcurrent int
	// Owner is shown in listings. Zero: "root", with a stable ID.
	Owner Owner
	// KeepAlive is after how long, and how often from then on, a Complete or a
	// Copy still at work sends whitespace to keep its connection. 0: 10 s.
	KeepAlive time.Duration
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.MaxConcurrent == 0 {
		o.MaxConcurrent = 1024
	}
	if o.Owner == (Owner{}) {
		id := sha256.Sum256([]byte("cairn:root"))
		o.Owner = Owner{ID: hex.EncodeToString(id[:]), DisplayName: "root"}
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 10 * time.Second
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.API == nil:
		return errors.New("s3: Options.API is missing")
	case o.Auth == nil:
		return errors.New("s3: Options.Auth is missing")
	case o.MaxConcurrent < 0:
		return fmt.Errorf("s3: Options.MaxConcurrent is %d", o.MaxConcurrent)
	case o.KeepAlive < 0:
		return fmt.Errorf("s3: Options.KeepAlive is %v", o.KeepAlive)
	}
	return nil
}

type nobody struct{}

func (nobody) Started()         {}
func (nobody) Finished(*Record) {}

// A Handler serves the S3 API. Safe for concurrent use.
type Handler struct {
	api       object.API
	auth      Authenticator
	region    string
	anyRegion bool // may be asked for
	domains   []string
	origins   []string
	logger    *slog.Logger
	observer  Observer
	owner     Owner
	keepAlive time.Duration

	limit        int64
	serving      atomic.Int64
	strangers    atomic.Int64  // forms whose signature has not been seen yet
	formPatience time.Duration // maxFormHeadTime

	ids         atomic.Uint64
	seed        uint64
	hostID      string
	hostIDValue []string
	calls       sync.Pool
}

// New returns a handler for o.
func New(o Options) (*Handler, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	var random [40]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("s3: host ID: %w", err)
	}
	h := &Handler{
		api: o.API, auth: o.Auth, region: cmp.Or(o.Region, defaultRegion), anyRegion: o.Region == "", domains: o.Domains, origins: o.Origins, logger: o.Logger, observer: o.Observer,
		owner: o.Owner, keepAlive: o.KeepAlive, formPatience: maxFormHeadTime, limit: int64(o.MaxConcurrent),
		seed:   binary.LittleEndian.Uint64(random[:]),
		hostID: base64.StdEncoding.EncodeToString(random[8:]),
	}
	h.hostIDValue = []string{h.hostID}
	h.calls.New = func() any { return &call{h: h} }
	return h, nil
}

// requestID is unique in this process and not guessable from another: the
// finaliser of splitmix64 permutes a counter that begins at random.
func (h *Handler) requestID() string {
	z := h.seed + h.ids.Add(1)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	var b [16]byte
	for i := range b {
		b[i] = upperHex[z>>60]
		z <<= 4
	}
	return string(b[:])
}

// A call is one request on its way through the wire. It is reused; whatever
// outlives ServeHTTP must be copied out.
type call struct {
	h *Handler
	w http.ResponseWriter
	r *http.Request

	place *atomic.Int64 // among the requests that are served at once

	level
	sub         string // the sub-resource that the request was resolved to
	bucket, key string
	q           query
	in          headers
	who         *auth.Request

	out    http.Header
	values []string // backs the values in out
	wrote  bool     // the status line is gone
	record Record

	put  object.PutInput
	get  object.GetInput
	part object.UploadPartInput
	body answerBody
}

func (c *call) begin(w http.ResponseWriter, r *http.Request) {
	c.w, c.r = w, r
	c.out = w.Header()
	// Not pooled: the response may be read after the call is given back.
	c.values = make([]string, 0, 12)
	c.record = Record{RequestID: c.h.requestID(), Operation: "Unknown", Request: r}
	c.out["Server"] = valueServer
	c.out["X-Amz-Id-2"] = c.h.hostIDValue
	c.set("X-Amz-Request-Id", c.record.RequestID)
	c.allowOrigin()
}

// end forgets the request, so that a call at rest holds nothing of it.
func (c *call) end() {
	h := c.h
	*c = call{h: h}
	h.calls.Put(c)
}

// set sets a header whose name is already as it shall be sent.
func (c *call) set(name, value string) {
	n := len(c.values)
	c.values = append(c.values, value)
	c.out[name] = c.values[n : n+1 : n+1]
}

func (c *call) writeHeader(status int) {
	c.wrote = true
	c.record.Status = status
	c.w.WriteHeader(status)
}

// ctx is the request's: it ends when the client goes away.
func (c *call) ctx() context.Context { return c.r.Context() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := h.calls.Get().(*call)
	c.begin(w, r)
	h.observer.Started()
	defer c.finish(began)

	defer c.leave()
	if err := c.enter(&h.serving, h.limit); err != nil {
		c.fail(err)
		return
	}
	if err := c.serve(); err != nil {
		if c.wrote {
			// The length was promised: only a broken connection tells the client.
			w := refusalOf(err)
			c.record.Code, c.record.Err = w.name, err
			if w.code == codeInternal {
				c.tellFailure("request failed after its status was sent", err)
			}
			panic(http.ErrAbortHandler)
		}
		if c.who == nil {
			c.leave() // whoever has not signed takes the answer, or does not, in nobody's place
		}
		c.fail(err)
	}
}

// enter takes one of limit places, in place of the one that the call has.
func (c *call) enter(places *atomic.Int64, limit int64) error {
	c.leave()
	if places.Add(1) > limit {
		places.Add(-1)
		return refuse(codeSlowDown, "")
	}
	c.place = places
	return nil
}

// leave gives the call's place back, if it has one.
func (c *call) leave() {
	if c.place != nil {
		c.place.Add(-1)
		c.place = nil
	}
}

// finish ends a call, however it went.
func (c *call) finish(began time.Time) {
	p := recover()
	if p != nil && p != http.ErrAbortHandler {
		c.h.logger.Error("panic while serving", "request_id", c.record.RequestID, "operation", c.record.Operation,
			"panic", p, "stack", string(debug.Stack()))
		if !c.wrote {
			c.fail(fmt.Errorf("panic: %v", p))
			p = nil
		} else {
			c.record.Code = codeInternal.name
			p = http.ErrAbortHandler
		}
	}
	if !c.wrote {
		c.writeHeader(http.StatusOK)
	}
	c.record.Bucket, c.record.Key = c.bucket, c.key
	c.record.Duration = time.Since(began)
	c.h.observer.Finished(&c.record)
	c.end()
	if p != nil {
		panic(p)
	}
}

// serve is the ladder of every request.
func (c *call) serve() error {
	if err := c.locate(); err != nil {
		return c.refusedBeforeAuth(err)
	}
	if c.r.URL.RawQuery != "" {
		if err := c.q.parse(c.r.URL.RawQuery); err != nil {
			return c.refusedBeforeAuth(err)
		}
	}
	op, err := c.resolve()
	c.record.Operation = op.name
	if err != nil {
		return c.refusedBeforeAuth(err)
	}
	if op.form {
		return op.serve(c)
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	c.in.read(c.r.Header)
	if c.presigned() {
		if err := c.in.readHoisted(&c.q); err != nil {
			return err
		}
	}
	if err := c.screen(); err != nil {
		return err
	}
	return op.serve(c)
}

// authenticate finds out who calls. Nothing is readable without a name.
func (c *call) authenticate() error {
	who, err := c.h.auth.Verify(c.r)
	if err != nil {
		var a *auth.Error
		if errors.As(err, &a) {
			c.record.AccessKey = a.AccessKey
		}
		return err
	}
	if who.Anonymous {
		return refuse(codeAccessDenied, "")
	}
	c.who = who
	c.record.AccessKey = who.AccessKey
	return nil
}

// refusedBeforeAuth keeps what is wrong with a request from those who may not
// ask: without a valid signature the answer is about the signature.
func (c *call) refusedBeforeAuth(err error) error {
	if denied := c.authenticate(); denied != nil {
		return denied
	}
	return err
}
