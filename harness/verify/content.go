package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// A Content is what one put gives a key: a number of its own and a size in
// bytes. ID 0 is nothing: the key is not there.
type Content struct {
	ID   uint64 `json:"id,omitempty"`
	Size int    `json:"size,omitempty"`
}

// MinSize is the smallest body: it says of which key it is, which put, and how long.
const MinSize = 24

func keyHash(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return h.Sum64()
}

// Body returns the bytes of a content under a key; of at least MinSize.
func (c Content) Body(key string) []byte {
	b := make([]byte, c.Size)
	c.fill(key, b)
	return b
}

func (c Content) fill(key string, b []byte) {
	hash := keyHash(key)
	binary.LittleEndian.PutUint64(b, c.ID)
	binary.LittleEndian.PutUint64(b[8:], uint64(len(b)))
	binary.LittleEndian.PutUint64(b[16:], hash)
	var seed [32]byte
	copy(seed[:], b[:MinSize])
	_, _ = rand.NewChaCha8(seed).Read(b[MinSize:])
}

// ReadContent says which content a body read under a key is. An error means
// that the bytes are not those that any put sent for that key.
func ReadContent(key string, body []byte) (Content, error) {
	if len(body) < MinSize {
		return Content{}, fmt.Errorf("%s: a body of %d bytes, less than any put sent", key, len(body))
	}
	c := Content{ID: binary.LittleEndian.Uint64(body), Size: len(body)}
	if c.ID == 0 {
		return Content{}, fmt.Errorf("%s: a body that no put sent", key)
	}
	want := c.Body(key)
	if bytes.Equal(body, want) {
		return c, nil
	}
	i := 0
	for body[i] == want[i] {
		i++
	}
	return Content{}, fmt.Errorf("%s: the body of put %d, %d bytes, differs from what was sent from byte %d on", key, c.ID, len(body), i)
}
