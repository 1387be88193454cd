package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// A journal is one client's own keys: what each holds since it was
// acknowledged, and what was asked since and not answered. nil: nothing.
type journal struct {
	s     *stack
	rng   *rand.Rand
	keys  []string
	acked map[string][]byte
	asked map[string][]byte
	seed  uint64
	steps int
}

func (j *journal) step() error {
	key := j.keys[j.rng.IntN(len(j.keys))]
	j.seed++
	body := selfDescribing(j.seed, j.rng.IntN(5000))
	var err error
	what := j.rng.IntN(20)
	switch {
	case what < 4:
		body = nil
	case what == 4:
		body = selfDescribing(j.seed, 256<<10+j.rng.IntN(200<<10))
	case what == 5:
		body = selfDescribing(j.seed, 2*partSize+j.rng.IntN(partSize))
	case what == 6 && j.acked[j.keys[0]] != nil:
		body = j.acked[j.keys[0]]
	}
	j.asked[key] = body
	switch {
	case body == nil:
		_, err = j.s.Delete(ctx, &object.DeleteInput{Bucket: "load", Key: key})
	case what == 5:
		err = j.multipart(key, body)
	case what == 6 && j.acked[j.keys[0]] != nil:
		_, err = j.s.Copy(ctx, &object.CopyInput{SourceBucket: "load", SourceKey: j.keys[0], Bucket: "load", Key: key, ReplaceMetadata: true})
	default:
		_, err = j.s.Put(ctx, &object.PutInput{Bucket: "load", Key: key, Body: bytes.NewReader(body), Size: int64(len(body))})
	}
	if err != nil {
		return err // what was asked stays in doubt
	}
	j.settle(key, body)
	j.steps++
	return nil
}

func (j *journal) settle(key string, body []byte) {
	delete(j.asked, key)
	delete(j.acked, key)
	if body != nil {
		j.acked[key] = body
	}
}

func (j *journal) multipart(key string, body []byte) error {
	id, err := j.s.CreateUpload(ctx, &object.CreateUploadInput{Bucket: "load", Key: key})
	if err != nil {
		return err
	}
	in := object.CompleteInput{Bucket: "load", Key: key, UploadID: id, Size: -1}
	for i, piece := range [][]byte{body[:partSize], body[partSize:]} {
		p, err := j.s.UploadPart(ctx, &object.UploadPartInput{Bucket: "load", Key: key, UploadID: id, PartNumber: i + 1, Body: bytes.NewReader(piece), Size: int64(len(piece))})
		if err != nil {
			return err
		}
		in.Parts = append(in.Parts, object.PartInfo{Number: i + 1, ETag: p.ETag})
	}
	_, err = j.s.Complete(ctx, &in)
	return err
}

// verify finds what was acknowledged, or what was asked since; what is found
// is certain from now on.
func (j *journal) verify() error {
	for _, key := range j.keys {
		var got []byte
		out, err := j.s.Get(ctx, &object.GetInput{Bucket: "load", Key: key})
		if err == nil {
			got, err = io.ReadAll(out.Body)
			err = errors.Join(err, out.Body.Close())
		}
		if err = allow(err, object.NoSuchKey); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		asked, doubt := j.asked[key]
		switch {
		case bytes.Equal(got, j.acked[key]) && (got == nil) == (j.acked[key] == nil):
		case doubt && bytes.Equal(got, asked) && (got == nil) == (asked == nil):
		default:
			return fmt.Errorf("%s: %d bytes are neither the %d acknowledged nor the %d asked for since (%v)", key, len(got), len(j.acked[key]), len(asked), doubt)
		}
		j.settle(key, got)
	}
	return nil
}

// TestCrashUnderLoad cuts the power on many clients at once, again and again,
// each time on what the last recovery has left, while segments are rewritten.
func TestCrashUnderLoad(t *testing.T) {
	cycles := 60
	if os.Getenv("CAIRN_SOAK") != "" {
		cycles = 5000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	tune := func(o *store.Options, so *object.Options) {
		smallParts(o, so)
		o.CompactEvery, o.CompactGarbage = 2*time.Millisecond, 0.1
	}
	fsys := disk.NewMemory(int64(seed))
	clients := make([]*journal, 8)
	for i := range clients {
		j := &journal{rng: rand.New(rand.NewPCG(seed, uint64(i+1))), acked: map[string][]byte{}, asked: map[string][]byte{}, seed: uint64(i) << 40}
		for k := range 8 {
			j.keys = append(j.keys, fmt.Sprintf("c%d/%d", i, k))
		}
		clients[i] = j
	}
	var recycled int64
	for cycle := range cycles {
		s, err := openStack(fsys, tune)
		require.NoError(t, err, "cycle %d", cycle)
		if cycle == 0 {
			require.NoError(t, s.CreateBucket(ctx, "load", "r", "o"))
		}
		for _, j := range clients {
			j.s = s
			require.NoError(t, j.verify(), "cycle %d", cycle)
		}
		_, err = look(s)
		require.NoError(t, err, "cycle %d", cycle)
		requireCounted(t, s, "load")

		var wg sync.WaitGroup
		for _, j := range clients {
			wg.Go(func() {
				for j.step() == nil {
				}
			})
		}
		time.Sleep(time.Duration(1+rng.IntN(60)) * time.Millisecond)
		survivor := fsys.Crash(disk.CrashModes[rng.IntN(len(disk.CrashModes))], rng)
		wg.Wait()
		recycled += s.store.Stats().Recycled
		require.NoError(t, s.Close())
		_ = s.store.Close() // on a drive without power
		fsys.Discard()      // an index that died in a cut holds it to the end
		fsys = survivor
	}
	steps := 0
	for _, j := range clients {
		steps += j.steps
	}
	t.Logf("%d power cuts, %d acknowledged operations, %d segments recycled", cycles, steps, recycled)
	require.Greater(t, steps, cycles, "a load that acknowledges next to nothing proves nothing")
}
