package object

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIDs(t *testing.T) {
	for _, seq := range []uint64{1, 2, 31, 32, 1 << 40, 1<<64 - 1} {
		id := formatVersionID(seq)
		require.Len(t, id, idLen)
		got, err := parseVersionID(id)
		require.NoError(t, err)
		require.Equal(t, seq, got)
	}
	require.Less(t, formatVersionID(8), formatVersionID(7), "newest first")
	require.Less(t, formatID(7), formatID(8))
	for _, bad := range []string{"", "null", "x", "000000000000", "00000000000000", "000000000000w", "000000000000V", "0000000000001", formatID(1<<64 - 1), "é00000000000"} {
		_, err := parseVersionID(bad)
		require.Equal(t, InvalidVersionID, KindOf(err), "%q", bad)
	}
}

func TestAlias(t *testing.T) {
	key := appendCurrentKey(nil, 7, "a\x00b")
	require.Equal(t, appendVersionKey(nil, 7, "a\x00b", 42), Alias(key, nil, 42))
	tagged := appendMeta(nil, &meta{flags: flagSeq | flagNull, seq: 41, modified: 1767323045678})
	require.Equal(t, appendVersionKey(nil, 7, "a\x00b", 41), Alias(key, tagged, 42), "metadata was written over it since")
	require.Equal(t, appendVersionKey(nil, 7, "a\x00b", 42), Alias(key, tagged[:2], 42))
	require.Nil(t, Alias(appendVersionKey(nil, 7, "a", 1), nil, 42))
	require.Nil(t, Alias(appendPartKey(nil, 7, 1), nil, 42))
	require.Nil(t, Alias(nil, nil, 1))
	require.Nil(t, Alias([]byte{familyCurrent}, nil, 1))
}

func TestPrefixEnd(t *testing.T) {
	f := func(prefix, want string) {
		t.Helper()
		got := prefixEnd([]byte(prefix))
		if want == "" {
			require.Nil(t, got)
			return
		}
		require.Equal(t, want, string(got))
	}
	f("a", "b")
	f("a\xff", "b")
	f("a\xff\xff", "b")
	f("\x00", "\x01")
	f("\xff\xff", "")
	f("", "")
}

// FuzzKeys: what is encoded comes back, and sorts as what it encodes: keys
// ascending, of one key the newest version first.
func FuzzKeys(f *testing.F) {
	f.Add("a", "b", uint64(1), uint64(2))
	f.Add("a", "a", uint64(1), uint64(1))
	f.Add("a\x00", "a", uint64(3), uint64(1)<<63)
	f.Add("a\x00\x01", "a\x00\xff", uint64(0), ^uint64(0))
	f.Add("a\x01", "a\x00b", uint64(1), uint64(1))
	f.Add("", "\x00", uint64(1), uint64(1))
	f.Fuzz(func(t *testing.T, a, b string, seqA, seqB uint64) {
		keyA, keyB := appendVersionKey(nil, 1, a, seqA), appendVersionKey(nil, 1, b, seqB)
		key, seq, err := splitVersionKey(keyA, nil)
		if err != nil || string(key) != a || seq != seqA {
			t.Fatalf("%q %d came back as %q %d: %v", a, seqA, key, seq, err)
		}
		want := bytes.Compare([]byte(a), []byte(b))
		if want == 0 && seqA != seqB {
			if want = 1; seqA > seqB {
				want = -1
			}
		}
		if got := bytes.Compare(keyA, keyB); got != want {
			t.Fatalf("%q %d and %q %d compare as %d", a, seqA, b, seqB, got)
		}
		if of := appendVersionsOf(nil, 1, a); bytes.HasPrefix(keyB, of) != (a == b) {
			t.Fatalf("%q among the versions of %q", b, a)
		}
		prefixed := bytes.HasPrefix([]byte(a), []byte(b))
		if got := bytes.HasPrefix(keyA, appendEscaped(appendFamily(nil, familyVersion, 1), b)); got != prefixed {
			t.Fatalf("%q has prefix %q: %v, escaped %v", a, b, prefixed, got)
		}
		up := appendUploadKey(nil, 1, a, seqA)
		if key, group, err := splitEscaped(up, nil); err != nil || string(key) != a || group != seqA {
			t.Fatalf("upload %q %d came back as %q %d: %v", a, seqA, key, group, err)
		}
		if !bytes.Equal(Alias(appendCurrentKey(nil, 1, a), nil, seqA), keyA) && a != "" {
			t.Fatalf("alias of %q", a)
		}
	})
}

// FuzzSplitKey: no record key is read out of bounds, and what is accepted is
// what would be written.
func FuzzSplitKey(f *testing.F) {
	f.Add(appendVersionKey(nil, 9, "a\x00b", 5))
	f.Add(appendTimeKey(nil, familyIdle, 5, 6))
	f.Add(appendPartKey(nil, 9, 10))
	f.Add([]byte{})
	f.Add([]byte("v12345678a\x00"))
	f.Fuzz(func(t *testing.T, record []byte) {
		if key, seq, err := splitVersionKey(record, nil); err == nil {
			again := appendVersionKey(nil, binary.BigEndian.Uint64(record[1:]), key, seq)
			if !bytes.Equal(again[1:], record[1:]) {
				t.Fatalf("%q is %q of %d, which is %q", record, key, seq, again)
			}
		}
		if at, group, err := splitTimeKey(record); err == nil && !bytes.Equal(appendTimeKey(nil, record[0], at, group), record) {
			t.Fatalf("time key %q", record)
		}
		if n, err := splitPartKey(record); err == nil && n > 1<<16 {
			t.Fatalf("part %d", n)
		}
		end := prefixEnd(slices.Clone(record))
		if end != nil && bytes.Compare(record, end) >= 0 {
			t.Fatalf("prefix %q ends at %q", record, end)
		}
	})
}
