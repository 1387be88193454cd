package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// startingUp bounds the patience with a server that answers 503: MinIO does for
// a while after it has called itself ready.
const startingUp = 30 * time.Second

// CreateBucket makes the workspace's bucket; one that is there already is fine.
func CreateBucket(ctx context.Context, target Target, bucket string) error {
	if err := plainName("bucket", bucket); err != nil {
		return err
	}
	c := NewConn(ctx, target)
	defer c.Close()
	q := request{method: "PUT", path: []byte("/" + bucket), payload: emptyPayload, want: 200}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		_, err := c.do(time.Now(), &q, nothing{})
		if err == nil {
			return nil
		}
		var status *StatusError
		if errors.As(err, &status) {
			switch {
			case status.Code == "BucketAlreadyOwnedByYou" || status.Code == "BucketAlreadyExists":
				return nil
			case status.Status == 503 && time.Since(start) < startingUp && ctx.Err() == nil:
				continue
			}
		}
		return fmt.Errorf("create bucket %s: %w", bucket, err)
	}
}

// preloadTries is how often one object is tried before Preload gives up.
const preloadTries = 8

// Preload puts all stored objects of the workspace, in parallel.
func Preload(ctx context.Context, target Target, ws *Workspace, connections int, lines io.Writer) error {
	return eachStored(ctx, target, ws, connections, lines, "preload", (*client).putSurely)
}

// ReadStored gets all stored objects of the workspace once, in parallel, as the
// clients of a server that has run for a while have.
func ReadStored(ctx context.Context, target Target, ws *Workspace, connections int, lines io.Writer) error {
	return eachStored(ctx, target, ws, connections, lines, "read", func(c *client, _ context.Context, id uint64) error {
		_, err := c.get(time.Now(), id)
		return err
	})
}

// eachStored does the same with every stored object, in parallel, and tells how
// far it is; verb says what it does.
func eachStored(ctx context.Context, target Target, ws *Workspace, connections int, lines io.Writer, verb string, do func(*client, context.Context, uint64) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, done atomic.Uint64
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() {
			c := newClient(NewConn(ctx, target), ws, 0, uint64(i))
			defer c.Close()
			for ctx.Err() == nil {
				id := next.Add(1) - 1
				if id >= ws.Stored.Count {
					return
				}
				if err := do(c, ctx, id); err != nil {
					cancel(fmt.Errorf("%s object %d of %d: %w", verb, id, ws.Stored.Count, err))
					return
				}
				done.Add(1)
			}
		})
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			return context.Cause(ctx)
		case <-tick.C:
			if lines != nil {
				fmt.Fprintf(lines, "%s: %d of %d objects\n", verb, done.Load(), ws.Stored.Count)
			}
		}
	}
}

// putSurely puts a stored object, with some patience for a server that is
// starting or asks to slow down.
func (c *client) putSurely(ctx context.Context, id uint64) error {
	var err error
	for try := range preloadTries {
		if _, err = c.put(time.Now(), c.ws.Stored, id, 0); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Duration(10<<try) * time.Millisecond)
	}
	return err
}
