package s3

import (
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/engine/object"
)

// Attributes that a client may ask for.
const (
	wantETag = 1 << iota
	wantChecksum
	wantParts
	wantClass
	wantSize
)

var attributeNames = map[string]int{
	"ETag": wantETag, "Checksum": wantChecksum, "ObjectParts": wantParts, "StorageClass": wantClass, "ObjectSize": wantSize,
}

func parseAttributes(s string) (int, error) {
	want := 0
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		bit, ok := attributeNames[name]
		if !ok {
			return 0, argument("x-amz-object-attributes", name, "Invalid attribute name specified.")
		}
		want |= bit
	}
	if want == 0 {
		return 0, argument("x-amz-object-attributes", s, "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty")
	}
	return want, nil
}

func getAttributes(c *call) error {
	want, err := parseAttributes(c.in.attributes)
	if err != nil {
		return err
	}
	in := object.AttributesInput{Bucket: c.bucket, Key: c.key, Conditions: c.readConditions(), MaxParts: maxPageKeys}
	if in.VersionID, err = c.version(); err != nil {
		return err
	}
	if in.MaxParts, err = headerNumber("x-amz-max-parts", c.in.maxParts, maxPageKeys); err != nil {
		return err
	}
	in.MaxParts = min(in.MaxParts, maxPageKeys)
	if in.PartsAfter, err = headerNumber("x-amz-part-number-marker", c.in.partMarker, 0); err != nil {
		return err
	}
	out, err := c.h.api.Attributes(c.ctx(), &in)
	if err != nil {
		return err
	}
	c.set("Last-Modified", httpTime(out.Modified))
	c.maybe("X-Amz-Version-Id", out.VersionID)
	return c.respond(func(x *xmlWriter) {
		x.root("GetObjectAttributesResponse")
		if want&wantETag != 0 {
			x.text("ETag", out.ETag) // without quotes, alone among S3's answers
		}
		if want&wantChecksum != 0 && out.Checksum.Algorithm != object.NoChecksum {
			sum := out.Checksum
			sum.Parts = 0 // S3 tells how many beside it, and here alone not in the value
			x.open("Checksum")
			x.checksum(sum)
			x.close("Checksum")
		}
		if want&wantParts != 0 && out.Parts > 0 {
			x.objectParts(&in, &out)
		}
		if want&wantClass != 0 {
			x.storageClass(out.Headers.StorageClass)
		}
		if want&wantSize != 0 {
			x.int("ObjectSize", out.Size)
		}
		x.close("GetObjectAttributesResponse")
	})
}

func (x *xmlWriter) objectParts(in *object.AttributesInput, out *object.AttributesOutput) {
	x.open("ObjectParts")
	x.int("PartsCount", int64(max(out.PartsTotal, out.Parts)))
	x.int("PartNumberMarker", int64(in.PartsAfter))
	x.int("NextPartNumberMarker", int64(lastPart(out.PartList)))
	x.int("MaxParts", int64(in.MaxParts))
	x.bool("IsTruncated", out.PartsTruncated)
	for i := range out.PartList {
		p := &out.PartList[i]
		x.open("Part")
		x.int("PartNumber", int64(p.Number))
		x.int("Size", p.Size)
		x.partChecksum(p.Checksum)
		x.close("Part")
	}
	x.close("ObjectParts")
}

// lastPart is where the page after this one begins; S3 gives it on the last page too.
func lastPart(parts []object.PartInfo) int {
	if len(parts) == 0 {
		return 0
	}
	return parts[len(parts)-1].Number
}

func headerNumber(name, value string, fallback int) (int, error) {
	if value == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return 0, argument(name, value, "The value must be a whole number.")
	}
	return int(n), nil
}
