package object

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/backend"
)

// A bucket is one incarnation of a name. Its record can change in a transaction
// whose sync is still under way; so there are two views of it. latest and
// doomed are for transactions, which hold the bucket's lock and whose answers
// wait for that sync; durable is for everyone else.
type bucket struct {
	name    string
	id      uint64 // incarnation: the commit sequence of its creation; also its Space
	created int64  // milliseconds
	region  string
	owner   string
	lock    []byte // the name of its lock: its record's key
	latest  atomic.Pointer[bucketState]
	durable atomic.Pointer[bucketState]
	doomed  atomic.Bool // a transaction deletes it
}

// bucketState is what changes in a bucket. Immutable.
type bucketState struct {
	seq        uint64
	versioning Versioning
	tags       []Tag
}

// current is the bucket's state for a transaction that holds the bucket's lock. While
// memory is ahead of what is durable, the record decides: a change that ran may have been
// refused afterwards, and a refusal for a delete that is written waits for its sync.
func (b *bucket) current(tx backend.Tx) (*bucketState, error) {
	st := b.latest.Load()
	if !b.doomed.Load() && st.seq == b.durable.Load().seq {
		return st, nil
	}
	e, ok, err := tx.Get(b.lock)
	if err != nil {
		return nil, err
	}
	if ok && e.Seq == st.seq {
		return st, nil
	}
	if !ok {
		return nil, errNoSuchBucket
	}
	e.Key = b.lock
	now, err := decodeBucket(&e)
	if err != nil {
		return nil, err
	}
	if now.id != b.id {
		return nil, errNoSuchBucket
	}
	return now.latest.Load(), nil
}

// versioned says whether the bucket has ever been: there is no way back.
func (b *bucket) versioned() bool { return b.durable.Load().versioning != Unversioned }

// published makes st what readers see, unless they have seen a later one.
func (b *bucket) published(st *bucketState) {
	for {
		old := b.durable.Load()
		if old.seq >= st.seq || b.durable.CompareAndSwap(old, st) {
			return
		}
	}
}

// encode is the bucket's record: version, incarnation, creation, versioning,
// region, owner, tags.
func (b *bucket) encode(st *bucketState) []byte {
	v := binary.AppendUvarint([]byte{metaVersion}, b.id)
	v = append(binary.AppendVarint(v, b.created), byte(st.versioning))
	v = appendString(appendString(v, b.region), b.owner)
	return append(v, appendTags(nil, st.tags)...)
}

func decodeBucket(e *backend.Entry) (*bucket, error) {
	r := reader{b: e.Value}
	if r.byte() != metaVersion {
		return nil, errBadRecord
	}
	b := &bucket{name: string(e.Key[1:]), lock: bytes.Clone(e.Key), id: r.uvarint(), created: r.varint()}
	st := &bucketState{seq: e.Seq, versioning: Versioning(r.byte())}
	b.region, b.owner = r.string(), r.string()
	tags := sections(r.b)
	if r.bad || !tags.valid() || st.versioning > Suspended {
		return nil, errBadRecord
	}
	st.tags = tags.tags()
	b.latest.Store(st)
	b.durable.Store(st)
	return b, nil
}

// A registry holds all buckets in memory: look-ups take no lock, and a new
// bucket copies one shard of the map.
type registry struct {
	seed   maphash.Seed
	shards [256]atomic.Pointer[map[string]*bucket]
	count  atomic.Int64 // with those being created
	mu     struct {
		sync.Mutex
		turns map[string]chan struct{} // names of which a bucket is being made or deleted
	}
}

func (r *registry) load(be backend.Backend) error {
	r.seed = maphash.MakeSeed()
	r.mu.turns = map[string]chan struct{}{}
	shards := [len(r.shards)]map[string]*bucket{}
	for i := range shards {
		shards[i] = map[string]*bucket{}
	}
	it, err := be.Iter([]byte{familyBucket}, []byte{familyBucket + 1})
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Next() {
		b, err := decodeBucket(it.Entry())
		if err != nil {
			return err
		}
		shards[r.shard(b.name)][b.name] = b
		r.count.Add(1)
	}
	for i := range shards {
		r.shards[i].Store(&shards[i])
	}
	return it.Err()
}

func (r *registry) shard(name string) int {
	return int(maphash.String(r.seed, name) % uint64(len(r.shards)))
}

func (r *registry) get(name string) *bucket { return (*r.shards[r.shard(name)].Load())[name] }

// turn waits until nobody else makes or deletes a bucket of that name. Who is then
// told that there is one, or none, finds it so: the other one's record and the
// registry say the same. The caller ends its turn by done.
func (r *registry) turn(ctx context.Context, name string) (done func(), err error) {
	for {
		r.mu.Lock()
		other, taken := r.mu.turns[name]
		if !taken {
			break
		}
		r.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer r.mu.Unlock()
	mine := make(chan struct{})
	r.mu.turns[name] = mine
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.mu.turns, name)
		close(mine)
	}, nil
}

// change makes b the bucket of its name, or removes it where b is gone.
func (r *registry) change(b *bucket, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shard := &r.shards[r.shard(b.name)]
	next := maps.Clone(*shard.Load())
	if gone {
		delete(next, b.name)
	} else {
		next[b.name] = b
	}
	shard.Store(&next)
}

func (r *registry) all() (buckets []*bucket) {
	for i := range r.shards {
		for _, b := range *r.shards[i].Load() {
			buckets = append(buckets, b)
		}
	}
	return buckets
}

func (s *Service) bucket(name string) (*bucket, error) {
	b := s.buckets.get(name)
	if b == nil {
		if err := checkBucketName(name); err != nil {
			return nil, err // there can't be one
		}
		return nil, errNoSuchBucket
	}
	return b, nil
}

// settled runs a transaction on a bucket's record to its end, whoever leaves meanwhile.
// Who stopped waiting would not know whether it was written, and the bucket in memory
// must be the one of the record: what is put into it is acknowledged.
func (s *Service) settled(ctx context.Context, locks backend.Locks, fn func(backend.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.backend.Update(context.WithoutCancel(ctx), locks, fn)
}

// CreateBucket implements API.
func (s *Service) CreateBucket(ctx context.Context, name, region, owner string) error {
	if err := checkBucketName(name); err != nil {
		return err
	}
	done, err := s.buckets.turn(ctx, name)
	if err != nil {
		return failed("creating a bucket", err)
	}
	defer done()
	if s.buckets.get(name) != nil {
		return errBucketExists
	}
	if s.buckets.count.Add(1) > int64(s.o.MaxBuckets) {
		s.buckets.count.Add(-1)
		return refuse(TooManyBuckets, "You have attempted to create more buckets than allowed")
	}
	key := appendBucketKey(nil, name)
	b := &bucket{name: name, lock: key, created: s.now(), region: region, owner: owner}
	err = s.settled(ctx, backend.Locks{Exclusive: [][]byte{key}}, func(tx backend.Tx) error {
		if _, taken, err := tx.Get(key); err != nil {
			return err
		} else if taken {
			return errBucketExists
		}
		b.id = tx.Seq()
		st := &bucketState{seq: tx.Seq()}
		b.latest.Store(st)
		b.durable.Store(st)
		tx.Put(backend.Put{Key: key, Value: b.encode(st)})
		return nil
	})
	if err != nil {
		s.buckets.count.Add(-1)
		return failed("creating a bucket", err)
	}
	s.buckets.change(b, false)
	return nil
}

func (b *bucket) info() BucketInfo {
	st := b.durable.Load()
	return BucketInfo{Name: b.name, Created: fromMillis(b.created), Versioning: st.versioning, Region: b.region, Owner: b.owner}
}

// Bucket implements API.
func (s *Service) Bucket(ctx context.Context, name string) (BucketInfo, error) {
	b, err := s.bucket(name)
	if err != nil {
		return BucketInfo{}, err
	}
	return b.info(), nil
}

// Usage implements API.
func (s *Service) Usage(ctx context.Context, name string) (u Usage, err error) {
	b, err := s.bucket(name)
	if err == nil {
		u.Objects, u.Bytes = s.backend.Count(b.id)
	}
	return u, err
}

// ListBuckets implements API.
func (s *Service) ListBuckets(ctx context.Context, prefix, after string, limit int) (buckets []BucketInfo, more bool, err error) {
	all := slices.DeleteFunc(s.buckets.all(), func(b *bucket) bool { return b.name <= after || !strings.HasPrefix(b.name, prefix) })
	slices.SortFunc(all, func(a, b *bucket) int { return strings.Compare(a.name, b.name) })
	if limit = max(limit, 0); len(all) > limit {
		all, more = all[:limit], limit > 0
	}
	buckets = make([]BucketInfo, len(all))
	for i, b := range all {
		buckets[i] = b.info()
	}
	return buckets, more, nil
}

// DeleteBucket implements API. What is left of open uploads is freed afterwards,
// by whoever finds the purge record.
func (s *Service) DeleteBucket(ctx context.Context, name string) error {
	b, uploads, err := s.deleteBucket(ctx, name)
	if err != nil {
		return failed("deleting a bucket", err)
	}
	if uploads {
		if _, err := s.purge(ctx, b.id); err != nil {
			s.o.Logger.Warn("uploads of a deleted bucket are left for the next sweep", "bucket", name, "error", err)
		}
	}
	return nil
}

func (s *Service) deleteBucket(ctx context.Context, name string) (b *bucket, uploads bool, err error) {
	done, err := s.buckets.turn(ctx, name)
	if err != nil {
		return nil, false, err
	}
	defer done()
	if b, err = s.bucket(name); err != nil {
		return nil, false, err
	}
	key, purge := b.lock, appendPurgeKey(nil, b.id)
	err = s.settled(ctx, backend.Locks{Exclusive: [][]byte{key}}, func(tx backend.Tx) error {
		b.doomed.Store(false) // this may be another run of the same transaction
		if _, err := b.current(tx); err != nil {
			return err
		}
		if err := emptyBucket(tx, b.id); err != nil {
			return err
		}
		noUploads, err := emptyFamily(tx, familyUpload, b.id)
		if err != nil {
			return err
		}
		if uploads = !noUploads; uploads {
			tx.Put(backend.Put{Key: purge, Value: []byte{metaVersion}})
			tx.Frees()
		}
		tx.Delete(key)
		b.doomed.Store(true)
		return nil
	})
	if err != nil {
		b.doomed.Store(false) // not written, so it lives on: nobody else deletes it meanwhile
		return nil, false, err
	}
	s.buckets.change(b, true)
	s.buckets.count.Add(-1)
	return b, uploads, nil
}

func emptyFamily(tx backend.Tx, family byte, bucket uint64) (bool, error) {
	lower := appendFamily(nil, family, bucket)
	return tx.Empty(lower, prefixEnd(slices.Clone(lower)))
}

// emptyBucket refuses a bucket that has objects, versions or delete markers.
func emptyBucket(tx backend.Tx, bucket uint64) error {
	for _, family := range [...]byte{familyCurrent, familyVersion} {
		empty, err := emptyFamily(tx, family, bucket)
		if err != nil {
			return err
		}
		if !empty {
			return refuse(BucketNotEmpty, "The bucket you tried to delete is not empty")
		}
	}
	return nil
}

// changeBucket writes the state that next makes of the latest one; nil for no change.
func (s *Service) changeBucket(ctx context.Context, name string, next func(*bucket, bucketState) (*bucketState, error)) error {
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	var before, after *bucketState
	key := b.lock
	err = s.settled(ctx, backend.Locks{Exclusive: [][]byte{key}}, func(tx backend.Tx) (err error) {
		if after != nil { // this is another run of the same transaction
			b.latest.CompareAndSwap(after, before)
		}
		after = nil
		if before, err = b.current(tx); err != nil {
			return err
		}
		st, err := next(b, *before)
		if err != nil || st == nil {
			return err
		}
		st.seq = tx.Seq()
		tx.Put(backend.Put{Key: key, Value: b.encode(st)})
		after = st
		b.latest.Store(st)
		return nil
	})
	if err != nil {
		if after != nil { // nobody has used it: see current
			b.latest.CompareAndSwap(after, before)
		}
		return failed("changing a bucket", err)
	}
	if after != nil {
		b.published(after)
	}
	return nil
}

// SetVersioning implements API.
func (s *Service) SetVersioning(ctx context.Context, name string, v Versioning) error {
	if v > Suspended {
		return refuse(InvalidArgument, "No such state of versioning")
	}
	return s.changeBucket(ctx, name, func(b *bucket, st bucketState) (*bucketState, error) {
		switch {
		case st.versioning == v && b.durable.Load().versioning == v:
			return nil, nil
		case st.versioning != v && v == Unversioned:
			return nil, refuse(InvalidBucketState, "Versioning can be suspended, but not undone")
		}
		st.versioning = v
		return &st, nil
	})
}

// BucketTags implements API.
func (s *Service) BucketTags(ctx context.Context, name string) ([]Tag, error) {
	b, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	tags := b.durable.Load().tags
	if len(tags) == 0 {
		return nil, refuse(NoSuchTagSet, "The TagSet does not exist")
	}
	return slices.Clone(tags), nil
}

// SetBucketTags implements API.
func (s *Service) SetBucketTags(ctx context.Context, name string, tags []Tag) error {
	if err := checkTags(tags, MaxBucketTags); err != nil {
		return err
	}
	tags = slices.Clone(tags)
	return s.changeBucket(ctx, name, func(b *bucket, st bucketState) (*bucketState, error) {
		st.tags = tags
		return &st, nil
	})
}

var errChanged = errors.New("object: changed since it was looked up")
