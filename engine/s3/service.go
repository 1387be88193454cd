package s3

import (
	"encoding/base64"

	"github.com/cairnstore/cairn/engine/object"
)

// listBuckets pages only where max-buckets asks for it; without, S3 returns all.
func listBuckets(c *call) error {
	max, err := c.q.number("max-buckets", 1, maxBuckets)
	if err != nil {
		return err
	}
	if max > maxBuckets {
		return argument("max-buckets", c.q.get("max-buckets"), "Argument max-buckets must be an integer between 1 and 10000")
	}
	prefix := c.q.get("prefix")
	after, err := decodeToken(c.q.get("continuation-token"))
	if err != nil {
		return err
	}
	var found []object.BucketInfo
	var more bool
	if r := c.q.get("bucket-region"); r == "" || r == c.h.region {
		if found, more, err = c.h.api.ListBuckets(c.ctx(), prefix, after, max); err != nil {
			return err
		}
	}
	return c.respond(func(x *xmlWriter) {
		x.root("ListAllMyBucketsResult")
		x.owner("Owner", &c.h.owner)
		x.open("Buckets")
		for i := range found {
			b := &found[i]
			x.open("Bucket")
			x.text("Name", b.Name)
			x.time("CreationDate", b.Created)
			x.text("BucketRegion", c.h.regionOf(b))
			x.close("Bucket")
		}
		x.close("Buckets")
		if more && len(found) > 0 {
			x.text("ContinuationToken", encodeToken(found[len(found)-1].Name))
		}
		x.optional("Prefix", prefix)
		x.close("ListAllMyBucketsResult")
	})
}

func (h *Handler) regionOf(b *object.BucketInfo) string {
	if b.Region != "" {
		return b.Region
	}
	return h.region
}

func (x *xmlWriter) owner(element string, o *Owner) {
	x.open(element)
	x.text("ID", o.ID)
	x.text("DisplayName", o.DisplayName)
	x.close(element)
}

// A continuation token is opaque to clients: a version and the key to go on after.
const tokenVersion = "1"

func encodeToken(after string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(tokenVersion + after))
}

func decodeToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 2 || string(b[:1]) != tokenVersion {
		return "", argument("continuation-token", token, "The continuation token provided is incorrect")
	}
	return string(b[1:]), nil
}
