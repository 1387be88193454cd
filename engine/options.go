package engine

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/cairnstore/cairn/engine/cache"
	"github.com/cairnstore/cairn/engine/s3"
	"github.com/cairnstore/cairn/engine/telemetry"
)

// Options configure an Engine. Only Dir must be set; the keys only for Handler.
type Options struct {
	// Dir holds the data; it is made if it is not there. One process at a time may have it open.
	Dir string

	// AccessKey and SecretKey are the root credentials, who may do everything.
	// Without them nobody may do anything over HTTP; in process they are not asked for.
	AccessKey, SecretKey string

	Region string // that clients sign for; when empty any, and "us-east-1" is told
	// Domains are the base domains of virtual-host style requests: with
	// "s3.example.com", the host "photos.s3.example.com" names the bucket photos.
	Domains []string
	// Origins are whose pages may read answers in browsers: "*" for all, exact ones as
	// "https://app.example.com", or with one *, as "https://*.example.com". Their requests
	// need a signature like all others. None: no page may.
	Origins []string

	MaxRequests  int           // S3 requests served at once, over it 503 SlowDown; 0: 1024
	UploadExpiry time.Duration // after which an idle multipart upload is aborted; 0: 7 days

	// OverlayBytes bounds the memory of writes that are durable but not yet in
	// the index; over it, writers wait for the index. IndexCacheBytes is what of
	// the index stays in memory. 0: an eighth and a sixteenth of Go's memory limit,
	// or of 4 GiB without one; from 64 MiB to 2 GiB and to 1 GiB.
	OverlayBytes, IndexCacheBytes int64

	// TransferBytes bounds the memory of large bodies under way, outside Go's heap: an upload
	// of more than 256 KiB that would take more is refused with 503 SlowDown. Bodies that are
	// read get by with 132 KiB each, not 1 MiB, once half of it is taken. 0: a quarter of
	// Go's memory limit, or of 4 GiB without one, at least 64 MiB.
	TransferBytes int64

	// CacheBytes is the memory of the cache of objects' metadata and small bodies,
	// outside Go's heap. 0: a sixteenth of Go's memory limit, or of 4 GiB without
	// one, from 16 MiB to 1 GiB; negative: no cache.
	CacheBytes int64

	// FlashDir, if not empty, holds the cache's second tier: small bodies that
	// memory had no room for, on a local drive that is faster than where they lie.
	// It is made if it is not there; one process at a time may have it open. FlashBytes
	// is what it takes at most; 0: 10 GiB. FlashWriteRate bounds what is written to it,
	// in bytes a second; 0: 44 MB/s, one write of a drive of 3.84 TB a day; negative: no bound.
	FlashDir                   string
	FlashBytes, FlashWriteRate int64

	// RedisURL, if not empty, is the server of the third tier, as
	// redis://user:password@host:6379/0, or rediss:// for TLS. RedisTimeout is the
	// longest that a read waits for it; 0: 5 ms. RedisTTL is after which it forgets
	// a body; 0: when it needs the room.
	RedisURL               string
	RedisTimeout, RedisTTL time.Duration

	// WriteThrough keeps small bodies in the cache, in all its tiers, when they are
	// written, and not only when they are read.
	WriteThrough bool

	// HotList is how many of the keys that are asked for most are remembered in the
	// data directory and, at the next start, brought into the cache in the background.
	// 0: 10,000; negative: none.
	HotList int
	// NoPrefetch leaves it to clients to ask: nothing is brought into the cache
	// because it is likely to be asked for next.
	NoPrefetch bool

	// MetricsToken is the bearer token for /metrics on Handler, MetricsPublic
	// opens it to all; with neither, only AdminHandler has it.
	MetricsToken  string
	MetricsPublic bool

	Log         *slog.Logger  // nil: slog.Default()
	AccessLog   bool          // log every request
	SlowRequest time.Duration // log requests that take as long; 0: none

	Build telemetry.Build // what cairn_build_info says

	// Now is the clock that times of objects and uploads and the window of
	// signatures are taken from; nil: time.Now. Time-outs have their own.
	Now func() time.Time
}

// NamesBucket reports whether a host is a bucket's name before one of the domains, as in
// Options.Domains: every path there is a key.
func NamesBucket(domains []string, host string) bool {
	_, ok := s3.HostBucket(domains, host)
	return ok
}

const maxHotList = 1_000_000

func (o Options) withDefaults() Options {
	o.MaxRequests = cmp.Or(o.MaxRequests, 1024)
	o.UploadExpiry = cmp.Or(o.UploadExpiry, 7*24*time.Hour)
	o.Log = cmp.Or(o.Log, slog.Default())
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = 4 << 30
	}
	o.OverlayBytes = cmp.Or(o.OverlayBytes, min(max(limit/8, 64<<20), 2<<30))
	o.IndexCacheBytes = cmp.Or(o.IndexCacheBytes, min(max(limit/16, 64<<20), 1<<30))
	o.TransferBytes = cmp.Or(o.TransferBytes, max(limit/4, 64<<20))
	o.HotList = cmp.Or(o.HotList, 10_000)
	o.FlashBytes = cmp.Or(o.FlashBytes, 10<<30)
	o.CacheBytes = cmp.Or(o.CacheBytes, min(max(limit/16, 16<<20), 1<<30))
	return o
}

func (o Options) validate() error {
	switch {
	case o.Dir == "":
		return errors.New("engine: Options.Dir is missing")
	case (o.AccessKey == "") != (o.SecretKey == ""):
		return errors.New("engine: Options.AccessKey and SecretKey belong together")
	case o.MaxRequests < 0:
		return errors.New("engine: Options.MaxRequests is negative")
	case o.UploadExpiry < 0:
		return errors.New("engine: Options.UploadExpiry is negative")
	case o.OverlayBytes < 0 || o.IndexCacheBytes < 0 || o.TransferBytes < 0:
		return errors.New("engine: Options.OverlayBytes, IndexCacheBytes or TransferBytes is negative")
	case o.CacheBytes > 0 && o.CacheBytes < cache.MinBytes:
		return fmt.Errorf("engine: Options.CacheBytes is %d, less than the %d that a cache needs", o.CacheBytes, cache.MinBytes)
	case o.CacheBytes < 0 && (o.FlashDir != "" || o.RedisURL != "" || o.WriteThrough):
		return errors.New("engine: Options.FlashDir, RedisURL and WriteThrough need a cache in memory")
	case o.FlashBytes < 0 || o.RedisTimeout < 0 || o.RedisTTL < 0:
		return errors.New("engine: Options.FlashBytes, RedisTimeout or RedisTTL is negative")
	case o.HotList > maxHotList:
		return fmt.Errorf("engine: Options.HotList is %d, more than %d", o.HotList, maxHotList)
	case o.SlowRequest < 0:
		return errors.New("engine: Options.SlowRequest is negative")
	}
	return nil
}
