package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// TestCompactionFindsTaggedNullVersions: an object is tagged, compaction moves it with the
// tags' later sequence, and then it is moved among the versions, by the sequence that its
// body came with. Compaction has to find it there, or its segment stays for ever.
func TestCompactionFindsTaggedNullVersions(t *testing.T) {
	s, err := openStack(disk.NewMemory(1), func(o *store.Options, _ *object.Options) { o.SegmentSize = 256 << 10 })
	require.NoError(t, err)
	defer func() { require.NoError(t, s.store.Close()) }()
	defer func() { require.NoError(t, s.Close()) }()
	for _, name := range []string{"bucket", "other"} {
		require.NoError(t, s.CreateBucket(ctx, name, "", "o"))
	}
	garbage := func(n int) {
		t.Helper()
		for i := range n {
			require.NoError(t, putText(s, "other", fmt.Sprint("garbage", i%3), strings.Repeat("g", 16_000)))
		}
		_, err := s.Usage(ctx, "other") // its counts wait for the index
		require.NoError(t, err)
	}
	const objects, others = 12, 9
	dies := func(i, k int) string { return fmt.Sprintf("dies%d-%d", i, k) }
	for i := range objects {
		key := fmt.Sprint("x", i)
		require.NoError(t, putText(s, "bucket", key, strings.Repeat("x", 2_000)))
		_, err := s.SetTags(ctx, "bucket", key, "", []object.Tag{{Key: "a", Value: "b"}})
		require.NoError(t, err)
		for k := range others { // they share its next segment
			require.NoError(t, putText(s, "bucket", dies(i, k), strings.Repeat("d", 16_000)))
		}
		garbage(40)
		require.NoError(t, s.store.Compact(ctx))
	}
	require.NoError(t, s.SetVersioning(ctx, "bucket", object.Enabled))
	for i := range objects {
		require.NoError(t, putText(s, "bucket", fmt.Sprint("x", i), "new"))
		for k := range others {
			_, err := s.Delete(ctx, &object.DeleteInput{Bucket: "bucket", Key: dies(i, k), VersionID: "null"})
			require.NoError(t, err)
		}
	}
	garbage(40)
	before := s.store.Stats().Segments
	require.NoError(t, s.store.Compact(ctx))
	after := s.store.Stats().Segments
	t.Logf("%d segments, then %d", before, after)
	require.Less(t, after, before/2)
	for i := range objects {
		out, err := s.Get(ctx, &object.GetInput{Bucket: "bucket", Key: fmt.Sprint("x", i), VersionID: "null"})
		require.NoError(t, err)
		require.EqualValues(t, 2_000, out.Size)
		require.NoError(t, out.Body.Close())
	}
}
