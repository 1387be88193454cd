// Package objecttest holds what every implementation of object.API must pass.
package objecttest

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cairnstore/cairn/engine/object"
)

// A bucket is the model's: every version in a list, the newest first, and no
// idea of how to store any of it.
type bucket struct {
	versioning object.Versioning
	tags       []object.Tag
	keys       map[string][]*version
	uploads    map[string]*upload // by ID
	done       map[string]done
}

type version struct {
	id     string // "null", or as the API gave it; "" is not known
	marker bool
	body   []byte
	etag   string
	typ    string
	user   map[string]string
	tags   []object.Tag
	parts  []int // sizes, of a multipart object
	sum    object.Checksum
}

type upload struct {
	key   string
	typ   string
	tags  []object.Tag
	parts map[int]piece
}

// A piece is bytes whose MD5 is computed once: some are large.
type piece struct {
	body []byte
	md5  [md5.Size]byte
}

func newPiece(body []byte) piece { return piece{body, md5.Sum(body)} }

func (p *piece) etag() string { return hex.EncodeToString(p.md5[:]) }

type done struct {
	key string
	out object.PutOutput
}

func newBucket() *bucket {
	return &bucket{keys: map[string][]*version{}, uploads: map[string]*upload{}, done: map[string]done{}}
}

// current returns what GET sees, nil where it sees nothing.
func (b *bucket) current(key string) *version {
	if vs := b.keys[key]; len(vs) > 0 && !vs[0].marker {
		return vs[0]
	}
	return nil
}

func (b *bucket) find(key, id string) *version {
	if id == "" {
		return b.current(key)
	}
	for _, v := range b.keys[key] {
		if v.id == id {
			return v
		}
	}
	return nil
}

// add makes v the newest version, whose ID must be set where the bucket keeps versions.
func (b *bucket) add(key string, v *version) {
	if b.versioning != object.Enabled {
		b.remove(key, "null")
		v.id = "null"
	}
	b.keys[key] = append([]*version{v}, b.keys[key]...)
}

func (b *bucket) remove(key, id string) {
	left := slices.DeleteFunc(slices.Clone(b.keys[key]), func(v *version) bool { return v.id == id })
	if len(left) == 0 {
		delete(b.keys, key)
		return
	}
	b.keys[key] = left
}

// shownID is the ID that answers name.
func (b *bucket) shownID(v *version) string {
	if b.versioning == object.Unversioned {
		return ""
	}
	return v.id
}

func (b *bucket) sortedKeys() []string {
	keys := make([]string, 0, len(b.keys))
	for k := range b.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (b *bucket) count() (entries, size int64) {
	for _, vs := range b.keys {
		for _, v := range vs {
			entries++
			size += int64(len(v.body))
		}
	}
	return entries, size
}

// An item is a line of a listing: a key, or a common prefix.
type item struct {
	key    string
	prefix bool
}

// items rolls keys up.
func items(keys []string, prefix, delimiter string) (list []item) {
	for _, k := range keys {
		if !strings.HasPrefix(k, prefix) {
			continue
		}
		it := item{key: k}
		if delimiter != "" {
			if i := strings.Index(k[len(prefix):], delimiter); i >= 0 {
				it = item{k[:len(prefix)+i+len(delimiter)], true}
			}
		}
		if len(list) == 0 || list[len(list)-1] != it {
			list = append(list, it)
		}
	}
	return list
}

func md5hex(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// multipartTag is S3's ETag of a multipart object.
func multipartTag(parts []piece) string {
	h := md5.New()
	for _, p := range parts {
		h.Write(p.md5[:])
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(parts))
}

// content makes bytes that differ between seeds and repeat nowhere soon. Past
// the first few thousand they are the same for every seed, to be quick.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	fill(b[:min(n, 8<<10)], seed)
	for rest := b[min(n, 8<<10):]; len(rest) > 0; {
		rest = rest[copy(rest, filler()):]
	}
	return b
}

var filler = sync.OnceValue(func() []byte {
	b := make([]byte, 1<<20+7)
	fill(b, 0)
	return b
})

func fill(b []byte, seed uint64) {
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
}
