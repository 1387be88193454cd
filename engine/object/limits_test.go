package object

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBucketNames(t *testing.T) {
	f := func(name string, want bool) {
		t.Helper()
		require.Equal(t, want, checkBucketName(name) == nil, "%q", name)
	}
	f("abc", true)
	f("ab", false)
	f("", false)
	f(strings.Repeat("a", 63), true)
	f(strings.Repeat("a", 64), false)
	f("a.b-c.9", true)
	f("9-lives", true)
	f("a..b", false)
	f(".ab", false)
	f("ab.", false)
	f("-ab", false)
	f("ab-", false)
	f("Abc", false)
	f("a_b", false)
	f("a b", false)
	f("a/b", false)
	f("äbc", false)
	f("192.168.5.4", false)
	f("300.168.5.4", false)
	f("1.2.3.4.5", true)
	f("1.2.3", true)
	f("1.2.3.x", true)
	f("a.-b", true) // S3 refuses this only for virtual hosts
	f("xn--abc", false)
	f("sthree-x", false)
	f("amzn-s3-demo-x", false)
	f("x-s3alias", false)
	f("x--ol-s3", false)
	f("x.mrap", false)
	f("x--x-s3", false)
	f("\x00\x00\x00", false)
}

func TestKeys(t *testing.T) {
	f := func(key string, want Kind) {
		t.Helper()
		if err := checkKey(key); want == 0 {
			require.NoError(t, err)
		} else {
			require.Equal(t, want, KindOf(err))
		}
	}
	f("a", 0)
	f("\x00", 0)
	f("../..", 0)
	f("//", 0)
	f(strings.Repeat("k", 1024), 0)
	f(strings.Repeat("k", 1025), KeyTooLong)
	f(strings.Repeat("ü", 512), 0)
	f(strings.Repeat("ü", 513), KeyTooLong)
	f("", InvalidKey)
	f("a\xff", InvalidKey)
	f("\xed\xa0\x80", InvalidKey) // a surrogate
}

func TestTagRules(t *testing.T) {
	f := func(want bool, tags ...Tag) {
		t.Helper()
		err := checkTags(tags, MaxObjectTags)
		require.Equal(t, want, err == nil, "%v", err)
		if err != nil {
			kind := InvalidTag
			if len(tags) > MaxObjectTags {
				kind = TooManyTags
			}
			require.Equal(t, kind, KindOf(err))
		}
	}
	many := func(n int) (tags []Tag) {
		for i := range n {
			tags = append(tags, Tag{Key: strings.Repeat("k", i+1)})
		}
		return tags
	}
	f(true)
	f(true, many(10)...)
	f(false, many(11)...)
	f(true, Tag{"k", ""})
	f(false, Tag{"", "v"})
	f(true, Tag{strings.Repeat("ü", 128), strings.Repeat("ü", 256)})
	f(false, Tag{strings.Repeat("k", 129), ""})
	f(false, Tag{"k", strings.Repeat("v", 257)})
	f(true, Tag{"a b+c-d=e.f_g:h/i@j", "日本"})
	f(false, Tag{"a&b", ""})
	f(false, Tag{"a", "x\ny"})
	f(false, Tag{"a", "\xff"})
	f(false, Tag{"a", "1"}, Tag{"a", "2"})
	f(true, Tag{"a", "1"}, Tag{"A", "2"})
	f(false, Tag{"aws:x", ""})
	f(false, Tag{"AWS:x", ""})
	require.NoError(t, checkTags(many(50), MaxBucketTags))
	require.Equal(t, TooManyTags, KindOf(checkTags(many(51), MaxBucketTags)))
}

func TestHeaderRules(t *testing.T) {
	h := Headers{StorageClass: "STANDARD", User: map[string]string{"a": strings.Repeat("x", MaxUserMetadata-1)}}
	require.NoError(t, checkHeaders(&h))
	require.Empty(t, h.StorageClass)
	h.User["b"] = ""
	require.Equal(t, MetadataTooLarge, KindOf(checkHeaders(&h)))
	require.NoError(t, checkHeaders(&Headers{StorageClass: "GLACIER_IR"}))
	require.Equal(t, InvalidStorageClass, KindOf(checkHeaders(&Headers{StorageClass: "standard"})))
}
