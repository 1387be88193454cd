package s3

import (
	"net/url"
	"strings"

	"github.com/cairnstore/cairn/engine/object"
)

// A source is what x-amz-copy-source names.
type source struct{ bucket, key, version string }

// parseSource reads x-amz-copy-source: [/]bucket/key[?versionId=id], bucket and
// key percent-encoded.
func parseSource(s string) (source, error) {
	bad := func() (source, error) {
		return source{}, argument("x-amz-copy-source", s, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	path, version := s, ""
	if i := strings.LastIndex(s, "?versionId="); i >= 0 {
		path, version = s[:i], s[i+len("?versionId="):]
		if version == "" {
			return bad()
		}
	}
	if strings.HasPrefix(path, "arn:") {
		return source{}, refuse(codeNotImplemented, "Copying from an access point is not implemented.")
	}
	// Some clients encode the slash between bucket and key too.
	path, err := url.PathUnescape(path)
	if err != nil {
		return bad()
	}
	if version, err = url.QueryUnescape(version); err != nil {
		return bad()
	}
	name, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if name == "" || key == "" {
		return bad()
	}
	return source{bucket: name, key: key, version: version}, nil
}

// directive reads COPY or REPLACE and reports whether it is the latter.
func directive(name, value string) (bool, error) {
	switch value {
	case "", "COPY":
		return false, nil
	case "REPLACE":
		return true, nil
	}
	return false, argument(name, value, "Unknown directive: it must be COPY or REPLACE.")
}

func copyObject(c *call) error {
	in, err := c.copyInput()
	if err != nil {
		return err
	}
	if err := c.h.api.CheckPut(c.ctx(), c.bucket, c.key, in.Conditions); err != nil {
		return err
	}
	var out object.CopyOutput
	work := func() (err error) {
		out, err = c.h.api.Copy(c.ctx(), in)
		return err
	}
	head := func() {
		c.maybe("X-Amz-Version-Id", out.VersionID)
		c.maybe("X-Amz-Copy-Source-Version-Id", out.SourceVersionID)
	}
	return c.slowly(work, head, func(x *xmlWriter) {
		x.root("CopyObjectResult")
		x.etag("ETag", out.ETag)
		x.time("LastModified", out.Modified)
		x.checksum(out.Checksum)
		x.close("CopyObjectResult")
	})
}

func (c *call) copyInput() (*object.CopyInput, error) {
	src, err := parseSource(c.in.copySource)
	if err != nil {
		return nil, err
	}
	in := &object.CopyInput{
		SourceBucket: src.bucket, SourceKey: src.key, SourceVersionID: src.version, SourceConditions: c.sourceConditions(),
		Bucket: c.bucket, Key: c.key, Owner: c.h.owner.ID,
	}
	if in.ReplaceMetadata, err = directive("x-amz-metadata-directive", c.in.metadataDirective); err != nil {
		return nil, err
	}
	if in.ReplaceTags, err = directive("x-amz-tagging-directive", c.in.taggingDirective); err != nil {
		return nil, err
	}
	if in.Headers, err = c.stored(); err != nil {
		return nil, err
	}
	if in.ReplaceTags {
		if in.Tags, err = parseTagging(c.in.tagging); err != nil {
			return nil, err
		}
	}
	if c.in.algorithm != "" {
		if in.Checksum, err = parseAlgorithm("x-amz-checksum-algorithm", c.in.algorithm); err != nil {
			return nil, err
		}
	}
	if in.Conditions, err = c.writeConditions(); err != nil {
		return nil, err
	}
	return in, nil
}

// checksum writes a checksum's elements, as several results have them.
func (x *xmlWriter) checksum(s object.Checksum) {
	if s.Algorithm == object.NoChecksum || len(s.Value) == 0 {
		return
	}
	x.text("Checksum"+s.Algorithm.String(), checksumText(s))
	x.text("ChecksumType", typeName(s.Type))
}
