package s3

import (
	"github.com/cairnstore/cairn/engine/object"
)

func listVersions(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	in := object.ListVersionsInput{
		Bucket: c.bucket, Prefix: p.in.Prefix, Delimiter: p.in.Delimiter, MaxKeys: p.in.MaxKeys,
		Details: c.detailed(), KeyMarker: c.q.get("key-marker"), VersionIDMarker: c.q.get("version-id-marker"),
	}
	if v, ok := c.q.lookup("version-id-marker"); ok && in.KeyMarker == "" {
		return argument("version-id-marker", v, "A version-id marker cannot be specified without a key marker.")
	}
	var out object.ListVersionsOutput
	if in.MaxKeys == 0 {
		_, err = c.h.api.Bucket(c.ctx(), c.bucket)
	} else {
		out, err = c.h.api.ListVersions(c.ctx(), &in)
	}
	if err != nil {
		return err
	}
	return c.respond(func(x *xmlWriter) {
		x.root("ListVersionsResult")
		x.text("Name", c.bucket)
		x.name("Prefix", in.Prefix, p.encoded)
		x.name("KeyMarker", in.KeyMarker, p.encoded)
		x.text("VersionIdMarker", in.VersionIDMarker)
		if out.Truncated {
			x.name("NextKeyMarker", out.NextKeyMarker, p.encoded)
			x.optional("NextVersionIdMarker", out.NextVersionIDMarker)
		}
		x.int("MaxKeys", int64(in.MaxKeys))
		if in.Delimiter != "" {
			x.name("Delimiter", in.Delimiter, p.encoded)
		}
		x.bool("IsTruncated", out.Truncated)
		if p.encoded {
			x.text("EncodingType", "url")
		}
		for i := range out.Versions {
			x.version(&out.Versions[i], &c.h.owner, p.encoded, in.Details)
		}
		x.prefixes(out.Prefixes, p.encoded)
		x.close("ListVersionsResult")
	})
}

// version writes one version or delete marker, in the order of the listing.
func (x *xmlWriter) version(v *object.Info, owner *Owner, encoded, detailed bool) {
	element := "Version"
	if v.DeleteMarker {
		element = "DeleteMarker"
	}
	x.open(element)
	x.name("Key", v.Key, encoded)
	x.text("VersionId", noVersion(v.VersionID))
	x.bool("IsLatest", v.Latest)
	x.time("LastModified", v.Modified)
	if !v.DeleteMarker {
		x.etag("ETag", v.ETag)
		x.algorithm(v.Checksum)
		x.int("Size", v.Size)
	}
	x.owner("Owner", owner)
	if !v.DeleteMarker {
		x.storageClass(v.Headers.StorageClass)
		if detailed {
			x.details(v)
		}
	}
	x.close(element)
}
