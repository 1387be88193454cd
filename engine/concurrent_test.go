package engine_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// selfDescribing makes a body that says of itself what it must be, so that a
// reader who does not know which write it meets knows whether it is whole.
func selfDescribing(seed uint64, size int) []byte {
	b := make([]byte, max(size, 16))
	binary.LittleEndian.PutUint64(b, seed)
	binary.LittleEndian.PutUint64(b[8:], uint64(len(b)))
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}).Read(b[16:])
	return b
}

func checkSelf(b []byte) error {
	if len(b) < 16 {
		return fmt.Errorf("%d bytes", len(b))
	}
	seed, size := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	if size != uint64(len(b)) || !bytes.Equal(b, selfDescribing(seed, len(b))) {
		return fmt.Errorf("write %d of %d bytes is read as %d that are not all its own", seed, size, len(b))
	}
	return nil
}

// A crowd is many clients of one stack, on few keys.
type crowd struct {
	*stack
	seeds atomic.Uint64
	won   atomic.Int64 // increments of the counter
}

const crowdKeys = 6

// step does one random operation; refusals that others cause are no errors.
func (c *crowd) step(rng *rand.Rand) error {
	bucket := []string{"plain", "kept"}[rng.IntN(2)]
	key := fmt.Sprint("k", rng.IntN(crowdKeys))
	size := rng.IntN(4000)
	if rng.IntN(12) == 0 {
		size = 256<<10 + rng.IntN(100<<10)
	}
	switch rng.IntN(15) {
	case 0, 1, 2, 3:
		return c.put(ctx, bucket, key, size, object.Conditions{})
	case 4:
		_, err := c.Delete(ctx, &object.DeleteInput{Bucket: bucket, Key: key})
		return err
	case 5:
		_, err := c.Copy(ctx, &object.CopyInput{SourceBucket: bucket, SourceKey: key, Bucket: "plain", Key: fmt.Sprint("k", rng.IntN(crowdKeys)), ReplaceMetadata: true})
		return allow(err, object.NoSuchKey)
	case 6:
		_, err := c.SetTags(ctx, bucket, key, "", []object.Tag{{Key: "t", Value: fmt.Sprint(size)}})
		return allow(err, object.NoSuchKey)
	case 7:
		return c.multipart(bucket, key, rng)
	case 8, 9:
		return c.read(bucket, key)
	case 10:
		return c.list(bucket)
	case 11:
		return c.trim(bucket, key)
	case 12: // by a client that leaves, at any point of it
		ctx, leave := context.WithTimeout(ctx, time.Duration(rng.IntN(1000))*time.Microsecond)
		defer leave()
		if err := c.put(ctx, bucket, key, size, object.Conditions{}); !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		return nil
	default:
		return c.increment()
	}
}

func allow(err error, kinds ...object.Kind) error {
	for _, k := range kinds {
		if err != nil && object.KindOf(err) == k {
			return nil
		}
	}
	return err
}

func (c *crowd) put(ctx context.Context, bucket, key string, size int, when object.Conditions) error {
	b := selfDescribing(c.seeds.Add(1), size)
	out, err := c.Put(ctx, &object.PutInput{Bucket: bucket, Key: key, Body: bytes.NewReader(b), Size: int64(len(b)), Conditions: when})
	if err != nil {
		return err
	}
	return checkETag(out.ETag, b)
}

// checkETag says what is wrong with the ETag of a body, unless it came in parts.
func checkETag(etag string, b []byte) error {
	if sum := fmt.Sprintf("%x", md5.Sum(b)); etag != sum && !strings.Contains(etag, "-") {
		return fmt.Errorf("the ETag of %d bytes is %s, their MD5 %s", len(b), etag, sum)
	}
	return nil
}

func (c *crowd) multipart(bucket, key string, rng *rand.Rand) error {
	id, err := c.CreateUpload(ctx, &object.CreateUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		return err
	}
	whole := selfDescribing(c.seeds.Add(1), 2*partSize+rng.IntN(partSize))
	in := object.CompleteInput{Bucket: bucket, Key: key, UploadID: id, Size: -1}
	for i, piece := range [][]byte{whole[:partSize], whole[partSize:]} {
		p, err := c.UploadPart(ctx, &object.UploadPartInput{Bucket: bucket, Key: key, UploadID: id, PartNumber: i + 1, Body: bytes.NewReader(piece), Size: int64(len(piece))})
		if err != nil {
			return err
		}
		in.Parts = append(in.Parts, object.PartInfo{Number: i + 1, ETag: p.ETag})
	}
	if rng.IntN(4) == 0 {
		return c.AbortUpload(ctx, bucket, key, id)
	}
	first, err := c.Complete(ctx, &in)
	if err != nil {
		return err
	}
	again, err := c.Complete(ctx, &in)
	if err == nil && fmt.Sprint(again) != fmt.Sprint(first) {
		return fmt.Errorf("repeated Complete: %v, at first %v", again, first)
	}
	return err
}

func (c *crowd) read(bucket, key string) error {
	out, err := c.Get(ctx, &object.GetInput{Bucket: bucket, Key: key})
	if err != nil {
		return allow(err, object.NoSuchKey)
	}
	b, err := io.ReadAll(out.Body)
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return fmt.Errorf("read %s/%s: %w", bucket, key, err)
	}
	if int64(len(b)) != out.Size {
		return fmt.Errorf("%s/%s: %d bytes of %d", bucket, key, len(b), out.Size)
	}
	return errors.Join(checkSelf(b), checkETag(out.ETag, b))
}

func (c *crowd) list(bucket string) error {
	last := ""
	for in := (&object.ListInput{Bucket: bucket, MaxKeys: 2}); ; {
		out, err := c.List(ctx, in)
		if err != nil {
			return err
		}
		for _, o := range out.Objects {
			if o.Key <= last {
				return fmt.Errorf("%q is listed after %q", o.Key, last)
			}
			last = o.Key
		}
		if !out.Truncated {
			return nil
		}
		in.After = out.Next
	}
}

// trim deletes the oldest version of a key for ever.
func (c *crowd) trim(bucket, key string) error {
	out, err := c.ListVersions(ctx, &object.ListVersionsInput{Bucket: bucket, Prefix: key, MaxKeys: 1000})
	if err != nil || len(out.Versions) < 3 {
		return err
	}
	_, err = c.Delete(ctx, &object.DeleteInput{Bucket: bucket, Key: key, VersionID: out.Versions[len(out.Versions)-1].VersionID})
	return err
}

// increment adds one to a counter that all share, if nobody else did meanwhile.
func (c *crowd) increment() error {
	out, err := c.Get(ctx, &object.GetInput{Bucket: "counter", Key: "n"})
	if err != nil {
		return fmt.Errorf("counter: %w", err)
	}
	b, err := io.ReadAll(out.Body)
	if err = errors.Join(err, out.Body.Close()); err != nil {
		return fmt.Errorf("counter: %w", err)
	}
	n, err := strconv.Atoi(string(b))
	if err != nil {
		return err
	}
	next := strconv.Itoa(n + 1)
	_, err = c.Put(ctx, &object.PutInput{Bucket: "counter", Key: "n", Body: bytes.NewReader([]byte(next)), Size: int64(len(next)), Conditions: object.Conditions{IfMatch: []string{out.ETag}}})
	if err == nil {
		c.won.Add(1)
	}
	return allow(err, object.PreconditionFailed)
}

// TestCrowd lets many clients at few keys while segments are rewritten: every
// read is of one whole write, conditions are exact, and what is counted and
// listed in the end is what can be read, also after the power was cut.
func TestCrowd(t *testing.T) {
	const clients = 8
	duration := 3 * time.Second
	if testing.Short() {
		duration = time.Second
	}
	tune := func(o *store.Options, so *object.Options) {
		smallParts(o, so)
		o.CompactEvery, o.CompactGarbage = 2*time.Millisecond, 0.1
	}
	fsys := disk.NewMemory(1)
	s, err := openStack(fsys, tune)
	require.NoError(t, err)
	c := &crowd{stack: s}
	for _, name := range []string{"plain", "kept", "counter", "once"} {
		require.NoError(t, s.CreateBucket(ctx, name, "r", "o"))
	}
	require.NoError(t, s.SetVersioning(ctx, "kept", object.Enabled))
	_, err = s.Put(ctx, &object.PutInput{Bucket: "counter", Key: "n", Body: bytes.NewReader([]byte("0")), Size: 1})
	require.NoError(t, err)

	until, stop := context.WithTimeout(ctx, duration)
	defer stop()
	var firsts atomic.Int64
	var steps atomic.Int64
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for n := 0; until.Err() == nil && errs[i] == nil; n++ {
				errs[i] = c.step(rng)
				if n < 100 && errs[i] == nil { // all clients want the same keys, at about the same time
					err := c.put(ctx, "once", fmt.Sprint(n), 100, object.Conditions{IfNoneMatch: []string{"*"}})
					if err == nil {
						firsts.Add(1)
					}
					errs[i] = allow(err, object.PreconditionFailed)
				}
				steps.Add(1)
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	out, err := s.List(ctx, &object.ListInput{Bucket: "once", MaxKeys: 1000})
	require.NoError(t, err)
	require.EqualValues(t, len(out.Objects), firsts.Load(), "one client wins each key")
	got, err := s.Get(ctx, &object.GetInput{Bucket: "counter", Key: "n"})
	require.NoError(t, err)
	b, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	require.Equal(t, fmt.Sprint(c.won.Load()), string(b), "no increment is lost, none is done twice")
	t.Logf("%d operations, %d increments, %d segments recycled", steps.Load(), c.won.Load(), s.store.Stats().Recycled)
	if !testing.Short() { // a short crowd need not leave a segment worth emptying
		require.Positive(t, s.store.Stats().Recycled)
	}

	before, err := look(s)
	require.NoError(t, err)
	for _, name := range []string{"plain", "kept", "counter", "once"} {
		requireCounted(t, s, name)
	}
	survivor := fsys.Fork(disk.NothingUnsynced, nil)
	require.NoError(t, s.Close())
	require.NoError(t, s.store.Close())
	for _, drive := range []*disk.Memory{fsys, survivor} {
		s, err = openStack(drive, tune)
		require.NoError(t, err)
		after, err := look(s)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(before), fmt.Sprint(after))
		require.NoError(t, s.Close())
		require.NoError(t, s.store.Close())
	}
}

// requireCounted adds up a bucket's versions and compares its counters.
func requireCounted(t *testing.T, s *stack, name string) {
	t.Helper()
	var versions, size int64
	for in := (&object.ListVersionsInput{Bucket: name, MaxKeys: 1000}); ; {
		out, err := s.ListVersions(ctx, in)
		require.NoError(t, err)
		for _, v := range out.Versions {
			versions++
			size += v.Size
		}
		if !out.Truncated {
			break
		}
		in.KeyMarker, in.VersionIDMarker = out.NextKeyMarker, out.NextVersionIDMarker
	}
	b, err := s.Usage(ctx, name)
	require.NoError(t, err)
	require.Equal(t, [2]int64{versions, size}, [2]int64{b.Objects, b.Bytes}, name)
}

// TestCountsAtOnce: a bucket's counters have every write that was acknowledged
// before they were asked for, while others write.
func TestCountsAtOnce(t *testing.T) {
	s, err := openStack(disk.NewMemory(1), smallParts)
	require.NoError(t, err)
	until, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		name := fmt.Sprint("bucket-", i)
		require.NoError(t, s.CreateBucket(ctx, name, "r", "o"))
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			sizes := map[string]int64{}
			var sum int64
			for until.Err() == nil && errs[i] == nil {
				key, size := fmt.Sprint(rng.IntN(10)), int64(rng.IntN(2000))
				var err error
				if sum -= sizes[key]; rng.IntN(3) == 0 {
					_, err = s.Delete(ctx, &object.DeleteInput{Bucket: name, Key: key})
					delete(sizes, key)
				} else {
					_, err = s.Put(ctx, &object.PutInput{Bucket: name, Key: key, Body: bytes.NewReader(make([]byte, size)), Size: size})
					sizes[key] = size
					sum += size
				}
				b, berr := s.Usage(ctx, name)
				if errs[i] = errors.Join(err, berr); errs[i] == nil && (b.Objects != int64(len(sizes)) || b.Bytes != sum) {
					errs[i] = fmt.Errorf("%s counts %d objects of %d bytes; there are %d of %d", name, b.Objects, b.Bytes, len(sizes), sum)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.NoError(t, s.Close())
	require.NoError(t, s.store.Close())
}
