package verify

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// A Content is what one put gives a key: a number of its own and a size in
// bytes. ID 0 is nothing: the key is not there.
type Content struct {
	ID    uint64 `json:"id,omitempty"`
	Size  int    `json:"size,omitempty"`
	Parts int    `json:"parts,omitempty"` // it is uploaded in; 0: put at once
}

// PartSize is the size in bytes of all of a body's parts but the last: the least that
// S3 takes.
const PartSize = 5 << 20

// InParts is the content as one that is uploaded in parts.
func (c Content) InParts() Content {
	c.Parts = max(1, (c.Size+PartSize-1)/PartSize)
	return c
}

// ETag is what S3 gives the content under a key, without quotes: the MD5 of its bytes, or,
// uploaded in parts, that of its parts' MD5s and their number.
func (c Content) ETag(key string) string { return c.etag(c.Body(key)) }

func (c Content) etag(body []byte) string {
	if c.Parts == 0 {
		return fmt.Sprintf("%x", md5.Sum(body))
	}
	sums := md5.New()
	for part := range slices.Chunk(body, PartSize) {
		sum := md5.Sum(part)
		_, _ = sums.Write(sum[:])
	}
	return fmt.Sprintf("%x-%d", sums.Sum(nil), c.Parts)
}

// label is the content as the object's metadata has it.
func (c Content) label() string { return fmt.Sprintf("%d %d %d", c.ID, c.Size, c.Parts) }

// readLabel reads what label wrote.
func readLabel(text string) (c Content, err error) {
	_, err = fmt.Sscanf(text+"\n", "%d %d %d\n", &c.ID, &c.Size, &c.Parts)
	if err != nil || c.ID == 0 || c.Size < MinSize || c.Size > maxAnswer || c.Parts < 0 || c.Parts > 0 && c != c.InParts() {
		return Content{}, fmt.Errorf("the metadata %q, which no put sent", text)
	}
	return c, nil
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
	return c, c.differs(key, body, c.Body(key), 0)
}

// differs says where bytes that were read from an offset on are others than were sent.
func (c Content) differs(key string, read, sent []byte, offset int) error {
	if len(read) != len(sent) {
		return fmt.Errorf("%s: of the body of put %d, %d bytes, %d were read and %d asked for", key, c.ID, c.Size, len(read), len(sent))
	}
	for i := range read {
		if read[i] != sent[i] {
			return fmt.Errorf("%s: the body of put %d, %d bytes, differs from what was sent from byte %d on", key, c.ID, c.Size, offset+i)
		}
	}
	return nil
}
