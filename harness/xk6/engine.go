package xk6

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/grafana/sobek"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/procs"
)

// engineOptions are what open takes.
type engineOptions struct {
	Dir        string `json:"dir"`
	CacheBytes int64  `json:"cacheBytes"` // as engine.Options has it
}

type sharedEngine = shared[engineOptions, *engine.Engine]

func newSharedEngine(o engineOptions) *sharedEngine {
	return &sharedEngine{options: o, open: func(o engineOptions) (*engine.Engine, error) {
		procs.Spare() // as a server would
		// Its log would mix with k6's output; what fails comes back as an error.
		return engine.Open(context.Background(), engine.Options{Dir: o.Dir, CacheBytes: o.CacheBytes, Log: slog.New(slog.DiscardHandler)})
	}}
}

// An Engine is Cairn's own, in this process. What putMany has put survives the
// loss of power.
type Engine struct {
	instance *instance
	shared   *sharedEngine

	ins     []*object.PutInput
	readers []*bytes.Reader
}

func (i *instance) open(v sobek.Value) (*Engine, error) {
	var o engineOptions
	if err := i.options(v, &o); err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if o.Dir == "" {
		return nil, errors.New("open: dir is missing: where the engine keeps its data")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	o.Dir = dir
	i.module.mu.Lock()
	defer i.module.mu.Unlock()
	shared := i.module.mu.engines[dir]
	switch {
	case shared == nil:
		shared = newSharedEngine(o)
		i.module.mu.engines[dir] = shared
	case shared.options != o:
		return nil, fmt.Errorf("open: %s is open with other options", o.Dir)
	}
	return &Engine{instance: i, shared: shared}, nil
}

// CreateBucket makes a bucket; one that is there is fine.
func (e *Engine) CreateBucket(name string) error {
	if err := e.instance.inVU(); err != nil {
		return fmt.Errorf("engine.createBucket: %w", err)
	}
	shared, done, err := e.shared.use()
	if err != nil {
		return fmt.Errorf("engine.createBucket: %w", err)
	}
	defer done()
	if err := shared.CreateBucket(e.instance.vu.Context(), name); err != nil && !alreadyThere(err) {
		return fmt.Errorf("engine.createBucket: %w", err)
	}
	return nil
}

func alreadyThere(err error) bool {
	return object.KindOf(err) == object.BucketExists
}

// PutMany puts pairs durably, with one wait for all, and returns how many were
// acknowledged. It throws if one was not.
func (e *Engine) PutMany(bucket string, pairs sobek.Value) (acknowledged int64, err error) {
	if err := e.instance.inVU(); err != nil {
		return 0, fmt.Errorf("engine.putMany: %w", err)
	}
	keys, values, err := e.instance.pairs(pairs)
	if err != nil {
		return 0, fmt.Errorf("engine.putMany: %w", err)
	}
	shared, done, err := e.shared.use()
	if err != nil {
		return 0, fmt.Errorf("engine.putMany: %w", err)
	}
	defer done()
	ins := e.inputs(bucket, keys, values)
	began := time.Now()
	results := shared.PutMany(e.instance.vu.Context(), ins)
	ended := time.Now()
	var failed, bytes int64
	var first error
	for n, r := range results {
		if r.Err != nil {
			failed++
			if first == nil {
				first = fmt.Errorf("engine.putMany: %s: %w", keys[n], r.Err)
			}
			continue
		}
		bytes += int64(len(values[n]))
	}
	if e.instance.vu.Context().Err() != nil {
		return 0, first // k6 ends the iteration: no fault of the engine, and no figure
	}
	e.instance.countBatch(durablePut, began, ended, int64(len(keys)), failed, bytes)
	return int64(len(keys)) - failed, first
}

// inputs are the engine's inputs, in memory that one call after the other uses.
func (e *Engine) inputs(bucket string, keys, values [][]byte) []*object.PutInput {
	for len(e.ins) < len(keys) {
		r := bytes.NewReader(nil)
		e.readers, e.ins = append(e.readers, r), append(e.ins, &object.PutInput{Body: r})
	}
	for n := range keys {
		e.readers[n].Reset(values[n])
		in := e.ins[n]
		in.Bucket, in.Key, in.Size = bucket, string(keys[n]), int64(len(values[n]))
	}
	return e.ins[:len(keys)]
}

// GetMany reads objects whole, one after the other, and returns how many were found.
func (e *Engine) GetMany(bucket string, names sobek.Value) (found int64, err error) {
	if err := e.instance.inVU(); err != nil {
		return 0, fmt.Errorf("engine.getMany: %w", err)
	}
	keys, err := e.instance.names(names)
	if err != nil {
		return 0, fmt.Errorf("engine.getMany: %w", err)
	}
	shared, done, err := e.shared.use()
	if err != nil {
		return 0, fmt.Errorf("engine.getMany: %w", err)
	}
	defer done()
	for _, key := range keys {
		began := time.Now()
		n, err := get(e.instance.vu.Context(), shared, bucket, string(key))
		ended := time.Now()
		missing := err != nil && object.KindOf(err) == object.NoSuchKey
		if e.instance.vu.Context().Err() != nil {
			return found, nil
		}
		// A key that is not there is an answer.
		e.instance.countBatch(engineGet, began, ended, 1, boolToInt(err != nil && !missing), n)
		switch {
		case missing:
		case err != nil:
			return found, fmt.Errorf("engine.getMany: %s: %w", key, err)
		default:
			found++
		}
	}
	return found, nil
}

func get(ctx context.Context, e *engine.Engine, bucket, key string) (int64, error) {
	out, err := e.Get(ctx, bucket, key)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, out.Body)
	return n, errors.Join(err, out.Body.Close())
}

// Close closes the engine for all VUs, in teardown. A second time does nothing.
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return e.shared.close(func(e *engine.Engine) error { return e.Close(ctx) })
}
