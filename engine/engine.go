package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/admin"
	"github.com/cairnstore/cairn/engine/auth"
	"github.com/cairnstore/cairn/engine/local"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/s3"
	"github.com/cairnstore/cairn/engine/store"
	"github.com/cairnstore/cairn/engine/telemetry"
)

// An Engine is one open data directory. Safe for concurrent use.
type Engine struct {
	metrics *telemetry.Metrics
	store   *store.Store
	cache   *tiered       // nil: none
	learnt  *anticipation // nil: no cache
	service *object.Service
	objects object.API
	handler http.Handler
	refusal func(status int, reason string) (http.Header, []byte)
	admin   *admin.Handler

	draining atomic.Bool
	closing  sync.Once
	closed   chan struct{} // after closeErr is what the first Close came to
	closeErr error
}

// Open opens the directory, and recovers what a crash left: when it returns,
// every write that was ever acknowledged can be read. ctx is asked before that begins.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	so, err := storeOptions(o.Dir, o.Log)
	if err != nil {
		return nil, explain(o.Dir, err)
	}
	so.OverlayBytes, so.IndexCacheBytes, so.TransferBytes = o.OverlayBytes, o.IndexCacheBytes, o.TransferBytes
	e := &Engine{}
	if o.CacheBytes > 0 {
		if e.cache, err = newTiered(o); err != nil {
			return nil, err
		}
		so.Tiers, so.WriteThrough = e.cache.tiers, o.WriteThrough
		if e.learnt, err = newAnticipation(e, so.FS, o); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", o.Dir, err), e.cache.close(ctx))
		}
		so.Hot = e.learnt.observer()
	}
	if e.store, err = store.Open(so); err != nil {
		return nil, errors.Join(explain(o.Dir, err), e.learnt.abandon(ctx), e.cache.close(ctx))
	}
	err = e.cache.below(e.store.Identity(), o)
	if err == nil {
		err = e.wire(o)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", o.Dir, err), e.Close(ctx))
	}
	e.learnt.warmFromLast()
	return e, nil
}

// wire builds the layers on the store, bottom up.
func (e *Engine) wire(o Options) (err error) {
	e.metrics = telemetry.NewMetrics(o.Build)
	e.metrics.Source(func(t *telemetry.Scrape) {
		expose(t, e.store.Stats())
		exposeCache(t, e.cache)
		exposeAnticipation(t, e.learnt)
		t.Reading(telemetry.Reading{Name: "cairn_s3_requests_max", Help: "Requests served at once before others are refused.", Value: float64(o.MaxRequests)})
	})
	if e.service, err = object.New(local.New(e.store), object.Options{Now: o.Now, UploadExpiry: o.UploadExpiry, Logger: o.Log}); err != nil {
		return err
	}
	e.objects = reserving{e.service}
	if e.learnt != nil && e.learnt.ahead != nil {
		e.objects = &learning{reserving{e.service}, e.service, e.learnt.ahead}
	}

	verifier, err := auth.New(auth.Options{
		Region: o.Region, Now: o.Now,
		Secret: func(key string) (string, bool) { return o.SecretKey, key == o.AccessKey && key != "" },
		HostBucket: func(host string) string {
			bucket, _ := s3.HostBucket(o.Domains, host)
			return bucket
		},
	})
	if err != nil {
		return err
	}
	wire, err := s3.New(s3.Options{
		API: e.objects, Auth: verifier, Region: o.Region, Domains: o.Domains, Origins: o.Origins,
		Logger: o.Log, MaxConcurrent: o.MaxRequests,
		Observer: &observer{e.metrics.Requests, telemetry.AccessLog{Log: o.Log, All: o.AccessLog, Slow: o.SlowRequest}},
	})
	if err != nil {
		return err
	}
	e.admin = admin.New(admin.Options{
		Ready: e.Ready, Metrics: e.metrics.Handler(o.Log),
		Token: o.MetricsToken, Public: o.MetricsPublic, Domains: o.Domains,
		AdminToken: AdminToken(o.SecretKey), Cache: e.cacheHandler(), Warm: e.warmHandler(),
	})
	e.handler, e.refusal = e.admin.Beside(wire), wire.Refusal
	return nil
}

// Handler serves the S3 API, and health and metrics beside it.
func (e *Engine) Handler() http.Handler { return e.handler }

// Refusal is the S3 API's answer to what the listener refuses as no request of HTTP's,
// for listen.Options.
func (e *Engine) Refusal(status int, reason string) (http.Header, []byte) {
	return e.refusal(status, reason)
}

// AdminHandler serves health and metrics alone, to anyone who reaches it.
func (e *Engine) AdminHandler() http.Handler { return e.admin }

// Source adds readings to the metrics: of what serves the handlers, say.
func (e *Engine) Source(read func(*telemetry.Scrape)) { e.metrics.Source(read) }

// Objects is everything an object store does, in process.
func (e *Engine) Objects() object.API { return e.objects }

// CreateBucket makes a bucket.
func (e *Engine) CreateBucket(ctx context.Context, bucket string) error {
	return e.objects.CreateBucket(ctx, bucket, "", "")
}

// Put stores size bytes of body, or all of it with a size of -1. When it
// returns nil, the object survives the loss of power.
func (e *Engine) Put(ctx context.Context, bucket, key string, body io.Reader, size int64) (object.PutOutput, error) {
	return e.objects.Put(ctx, &object.PutInput{Bucket: bucket, Key: key, Body: body, Size: size})
}

// PutMany is Put of many objects with one wait for all. Each stands or falls by
// itself; of two of one key the later one in order is the newer.
func (e *Engine) PutMany(ctx context.Context, in []*object.PutInput) []object.PutResult {
	return e.service.PutMany(ctx, in)
}

// Get opens the latest version. Close its Body.
func (e *Engine) Get(ctx context.Context, bucket, key string) (*object.GetOutput, error) {
	return e.objects.Get(ctx, &object.GetInput{Bucket: bucket, Key: key})
}

// Delete removes a key, or hides it where the bucket keeps versions. A key
// that is not there is no error.
func (e *Engine) Delete(ctx context.Context, bucket, key string) error {
	_, err := e.objects.Delete(ctx, &object.DeleteInput{Bucket: bucket, Key: key})
	return err
}

// List returns up to max keys that begin with prefix and come after `after`, in
// the order of their bytes. Next of the page is the `after` of the one that follows.
func (e *Engine) List(ctx context.Context, bucket, prefix, after string, max int) (object.ListOutput, error) {
	return e.objects.List(ctx, &object.ListInput{Bucket: bucket, Prefix: prefix, After: after, MaxKeys: max})
}

// errDraining is why an engine that is about to stop is not ready.
var errDraining = errors.New("stopping")

// Ready returns nil while requests can be served, and else why not.
func (e *Engine) Ready() error {
	if e.draining.Load() {
		return errDraining
	}
	if e.store.Failed() {
		return errors.New("the drive failed: writes are refused until a restart")
	}
	return nil
}

// Drain makes Ready, and with it the health endpoints, say that the engine is
// stopping, so that a load balancer sends no more. Requests are still served.
func (e *Engine) Drain() { e.draining.Store(true) }

// Close ends the background duties and closes the store. No call may be under
// way, and none may follow but Close. When ctx ends first, closing goes on behind its back and its
// error is returned; nothing acknowledged is at stake either way.
func (e *Engine) Close(ctx context.Context) error {
	e.Drain()
	e.closing.Do(func() {
		e.closed = make(chan struct{})
		go func() {
			defer close(e.closed)
			e.closeErr = e.close(ctx)
		}()
	})
	select {
	case <-e.closed:
	case <-ctx.Done():
		select {
		case <-e.closed:
		default:
			return fmt.Errorf("close: %w", ctx.Err())
		}
	}
	if e.closeErr != nil {
		return fmt.Errorf("close: %w", e.closeErr)
	}
	return nil
}

func (e *Engine) close(ctx context.Context) error {
	// What reads ahead is waited for however long: the store can't be closed under it.
	err := e.learnt.close(context.WithoutCancel(ctx))
	if e.service != nil {
		err = errors.Join(err, e.service.Close())
	}
	err = errors.Join(err, e.store.Close())
	select {
	case <-e.store.Ended():
		if ctx.Err() != nil { // nobody waits any more
			ctx = context.WithoutCancel(ctx)
		}
		return errors.Join(err, e.cache.close(ctx))
	default:
		// Something that the drive holds up still works with the cache's memory.
		go func() {
			<-e.store.Ended()
			_ = e.cache.close(context.WithoutCancel(ctx))
		}()
		return err
	}
}
