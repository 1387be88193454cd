package proxies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/local"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

const bucket = "bucket"

var ctx = context.Background()

// A stack is what the server opens below the wire, on a drive that counts.
type stack struct {
	*object.Service
	store *store.Store
	cache *cache.Cache

	memory *disk.Memory
	drive  *counter // of memory's operations
}

// clock is the scripted clock: a second later at each look.
type clock struct{ looks atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(c.looks.Add(1)) * time.Second)
}

// open opens a store whose duties do nothing by themselves. wrap, if any, comes
// between the objects' layer and the store's backend.
func open(wrap func(backend.Backend) backend.Backend) (*stack, error) {
	memory := disk.NewMemory(1)
	drive := &counter{}
	memory.SetHook(drive.note)
	quiet := slog.New(slog.DiscardHandler)
	c, err := cache.New(cache.Options{Bytes: 64 << 20, Lanes: 1})
	if err != nil {
		return nil, fmt.Errorf("proxies: %w", err)
	}
	st, err := store.Open(store.Options{
		FS: memory, Alias: object.Alias, Cache: c, Logger: quiet, NoPrefill: true,
		SegmentSize: 16 << 20, BulkSegmentSize: 32 << 20,
		ApplyEvery: time.Hour, FlushEvery: time.Hour, CompactEvery: -1, ScrubRate: -1, Reserve: 1 << 20,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("proxies: %w", err), c.Close())
	}
	var b backend.Backend = local.New(st)
	if wrap != nil {
		b = wrap(b)
	}
	o, err := object.New(b, object.Options{Now: new(clock).now, SweepEvery: -1, Logger: quiet})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("proxies: %w", err), st.Close(), c.Close())
	}
	s := &stack{o, st, c, memory, drive}
	if err := s.CreateBucket(ctx, bucket, "", "owner"); err != nil {
		return nil, errors.Join(fmt.Errorf("proxies: %w", err), s.Close())
	}
	return s, nil
}

func (s *stack) Close() error {
	return errors.Join(s.Service.Close(), s.store.Close(), s.cache.Close())
}

// settle waits until the index has everything, and the drive has been left
// alone for a while.
func (s *stack) settle() {
	s.store.Count(0)
	for range 100 {
		before := s.memory.Ops()
		time.Sleep(20 * time.Millisecond)
		if s.memory.Ops() == before {
			return
		}
	}
}

// put stores n bytes under a key.
func (s *stack) put(key string, body []byte) error {
	_, err := s.Put(ctx, &object.PutInput{Bucket: bucket, Key: key, Size: int64(len(body)), Body: bytes.NewReader(body), Owner: "owner"})
	return err
}

// A counter counts what log and bulk segments cost. The index is left out: it is
// written when the engine finds the time, so that its bytes differ from run to run.
type counter struct{ data use }

type use struct{ syncs, writes, written, reads, read atomic.Int64 }

// counts are a use at one moment.
type counts struct{ allocs, syncs, writes, written, reads, read int64 }

// note is the drive's hook.
func (c *counter) note(op disk.Op) error {
	u := &c.data
	if top, _, _ := strings.Cut(path.Clean(op.Name), "/"); top == "index" {
		return nil
	}
	switch op.Kind {
	case disk.OpSync, disk.OpSyncDir:
		u.syncs.Add(1)
	case disk.OpWrite:
		u.writes.Add(1)
		u.written.Add(op.Len)
	case disk.OpRead:
		u.reads.Add(1)
		u.read.Add(op.Len)
	}
	return nil
}

// counts are what log and bulk segments have cost so far.
func (c *counter) counts() counts {
	u := &c.data
	return counts{0, u.syncs.Load(), u.writes.Load(), u.written.Load(), u.reads.Load(), u.read.Load()}
}

func (c counts) since(b counts) counts {
	return counts{c.allocs - b.allocs, c.syncs - b.syncs, c.writes - b.writes, c.written - b.written, c.reads - b.reads, c.read - b.read}
}
