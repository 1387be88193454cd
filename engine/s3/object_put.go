package s3

import (
	"net/http"
	"strconv"
)

// checkEarlyFrom is the size from which an upload is checked before its body is
// read. Under it, refusing at the commit costs less than looking twice.
const checkEarlyFrom = 64 << 10

// putObject serves the upload of one object in one request.
func putObject(c *call) error {
	size, err := c.uploadSize()
	if err != nil {
		return err
	}
	in := &c.put
	in.Bucket, in.Key, in.Owner = c.bucket, c.key, c.h.owner.ID
	in.Body, in.Size = c.who.Body, size
	if in.Headers, err = c.stored(); err != nil {
		return err
	}
	if in.Tags, err = parseTagging(c.in.tagging); err != nil {
		return err
	}
	if in.ContentMD5, err = c.expectedMD5(); err != nil {
		return err
	}
	if in.Checksum, in.ChecksumTrailer, err = c.expectedChecksum(); err != nil {
		return err
	}
	if in.Conditions, err = c.writeConditions(); err != nil {
		return err
	}
	if c.early(size) || in.Conditions.IfMatch != nil || in.Conditions.IfNoneMatch != nil {
		if err := c.h.api.CheckPut(c.ctx(), c.bucket, c.key, in.Conditions); err != nil {
			return err
		}
	}
	out, err := c.h.api.Put(c.ctx(), in)
	if err != nil {
		return err
	}
	c.record.In = out.Size
	c.set("ETag", quoted(out.ETag))
	c.maybe("X-Amz-Version-Id", out.VersionID)
	c.tellChecksum(out.Checksum)
	c.empty(http.StatusOK)
	return nil
}

// early reports whether to refuse before the body is read where that can be:
// net/http sends 100 Continue on the first read.
func (c *call) early(size int64) bool { return c.in.expect != "" || size >= checkEarlyFrom }

// uploadSize is the body's length, which S3 demands to know beforehand.
func (c *call) uploadSize() (int64, error) {
	n := c.who.Length
	if n < 0 || n == 0 && c.r.ProtoMajor == 1 && len(c.r.Header["Content-Length"]) == 0 && len(c.r.TransferEncoding) == 0 {
		return 0, refuse(codeMissingLength, "")
	}
	if n > maxPutSize {
		return 0, tooLarge(n)
	}
	return n, nil
}

func tooLarge(n int64) error {
	return refuse(codeEntityTooLarge, "", field{"ProposedSize", strconv.FormatInt(n, 10)}, field{"MaxSizeAllowed", strconv.FormatInt(maxPutSize, 10)})
}

// noVersion is how listings name the version of an object in a bucket never versioned.
func noVersion(id string) string {
	if id == "" {
		return nullVersion
	}
	return id
}
