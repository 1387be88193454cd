package s3

import (
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"

	"github.com/cairnstore/cairn/engine/object"
)

// A page is what the three listings of keys share.
type page struct {
	in      object.ListInput
	encoded bool // encoding-type=url
}

func (c *call) page() (page, error) {
	p := page{in: object.ListInput{Bucket: c.bucket, Prefix: c.q.get("prefix"), Delimiter: c.q.get("delimiter")}}
	var err error
	if p.encoded, err = c.urlEncoded(); err != nil {
		return p, err
	}
	p.in.MaxKeys, err = c.q.page("max-keys", maxPageKeys)
	return p, err
}

func (c *call) urlEncoded() (bool, error) {
	switch v := c.q.get("encoding-type"); v {
	case "":
		return false, nil
	case "url":
		return true, nil
	default:
		return false, argument("encoding-type", v, "Invalid Encoding Method specified in Request")
	}
}

// detailed is MinIO's own, for all listings but version 1 of objects.
func (c *call) detailed() bool { return c.q.get("metadata") == "true" }

// list asks for one page. Of no keys at all there is nothing to ask but
// whether the bucket is there.
func (c *call) list(in *object.ListInput) (object.ListOutput, error) {
	if in.MaxKeys == 0 {
		_, err := c.h.api.Bucket(c.ctx(), c.bucket)
		return object.ListOutput{}, err
	}
	return c.h.api.List(c.ctx(), in)
}

// listObjects is version 1: it continues after a marker, which is a key.
func listObjects(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	p.in.After = c.q.get("marker")
	out, err := c.list(&p.in)
	if err != nil {
		return err
	}
	return c.respond(func(x *xmlWriter) {
		x.root("ListBucketResult")
		x.text("Name", c.bucket)
		x.name("Prefix", p.in.Prefix, p.encoded)
		x.name("Marker", p.in.After, p.encoded)
		if out.Truncated && p.in.Delimiter != "" {
			x.name("NextMarker", out.Next, p.encoded)
		}
		x.pageEnd(c, &p, &out, true)
		x.close("ListBucketResult")
	})
}

// listObjectsV2 continues after a token that is opaque to the client.
func listObjectsV2(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	startAfter := c.q.get("start-after")
	p.in.After, p.in.Details = startAfter, c.detailed()
	token, continued := c.q.lookup("continuation-token")
	if continued {
		if token == "" {
			return argument("continuation-token", token, "The continuation token provided is incorrect")
		}
		if p.in.After, err = decodeToken(token); err != nil {
			return err
		}
	}
	out, err := c.list(&p.in)
	if err != nil {
		return err
	}
	return c.respond(func(x *xmlWriter) {
		x.root("ListBucketResult")
		x.text("Name", c.bucket)
		x.name("Prefix", p.in.Prefix, p.encoded)
		if continued {
			x.text("ContinuationToken", token)
		}
		if startAfter != "" {
			x.name("StartAfter", startAfter, p.encoded)
		}
		if out.Truncated {
			x.text("NextContinuationToken", encodeToken(out.Next))
		}
		x.int("KeyCount", int64(len(out.Objects)+len(out.Prefixes)))
		x.pageEnd(c, &p, &out, c.q.get("fetch-owner") == "true")
		x.close("ListBucketResult")
	})
}

// pageEnd writes what both versions of a page have in common.
func (x *xmlWriter) pageEnd(c *call, p *page, out *object.ListOutput, owner bool) {
	x.int("MaxKeys", int64(p.in.MaxKeys))
	if p.in.Delimiter != "" {
		x.name("Delimiter", p.in.Delimiter, p.encoded)
	}
	x.bool("IsTruncated", out.Truncated)
	if p.encoded {
		x.text("EncodingType", "url")
	}
	// What is the same for every key of the page is written once.
	tail := ""
	if owner {
		o := xmlWriter{}
		o.owner("Owner", &c.h.owner)
		tail = string(o.b)
	}
	for i := range out.Objects {
		o := &out.Objects[i]
		// In as few appends as may be: this is most of what a LIST costs.
		x.raw("<Contents><Key>")
		if p.encoded {
			x.b = appendURLEncoded(x.b, o.Key)
		} else {
			x.b = appendEscaped(x.b, o.Key)
		}
		x.raw("</Key><LastModified>")
		x.b = appendISOTime(x.b, o.Modified)
		x.raw("</LastModified><ETag>&quot;")
		x.b = appendEscaped(x.b, o.ETag)
		x.raw("&quot;</ETag>")
		x.algorithm(o.Checksum)
		x.raw("<Size>")
		x.b = strconv.AppendInt(x.b, o.Size, 10)
		x.raw("</Size>")
		x.raw(tail)
		if p.in.Details {
			x.details(o)
		}
		if class := o.Headers.StorageClass; class == "" || class == standardClass {
			x.raw("<StorageClass>" + standardClass + "</StorageClass></Contents>")
		} else {
			x.text("StorageClass", class)
			x.raw("</Contents>")
		}
	}
	x.prefixes(out.Prefixes, p.encoded)
}

// details writes an object's headers and tags as MinIO does in a listing that asks
// for them. A name of metadata that XML has no element for is left out.
func (x *xmlWriter) details(o *object.Info) {
	x.open("UserMetadata")
	h := &o.Headers
	kind := h.ContentType
	if kind == "" {
		kind = valueOctets[0]
	}
	x.text("content-type", kind)
	for _, f := range []struct{ name, value string }{
		{"cache-control", h.CacheControl}, {"content-disposition", h.ContentDisposition}, {"content-encoding", h.ContentEncoding},
		{"content-language", h.ContentLanguage}, {"expires", h.Expires}, {"x-amz-website-redirect-location", h.WebsiteRedirect},
	} {
		x.optional(f.name, f.value)
	}
	for _, name := range slices.Sorted(maps.Keys(h.User)) {
		if element := metadataElement(name); element != "" {
			x.text(element, h.User[name])
		}
	}
	x.close("UserMetadata")
	if len(o.TagSet) > 0 {
		tags := url.Values{}
		for _, t := range o.TagSet {
			tags.Add(t.Key, t.Value)
		}
		x.text("UserTags", tags.Encode())
	}
}

// metadataElement is the name of the element that has a metadatum.
func metadataElement(name string) string {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return ""
		}
	}
	return textproto.CanonicalMIMEHeaderKey("x-amz-meta-" + name)
}

func (x *xmlWriter) prefixes(prefixes []string, encoded bool) {
	for _, prefix := range prefixes {
		x.open("CommonPrefixes")
		x.name("Prefix", prefix, encoded)
		x.close("CommonPrefixes")
	}
}

// algorithm writes which checksum an object has, without its value.
func (x *xmlWriter) algorithm(s object.Checksum) {
	if s.Algorithm == object.NoChecksum {
		return
	}
	x.text("ChecksumAlgorithm", s.Algorithm.String())
	x.text("ChecksumType", typeName(s.Type))
}

func (x *xmlWriter) storageClass(class string) {
	if class == "" {
		class = standardClass
	}
	x.text("StorageClass", class)
}
