package s3

import (
	"net/http"

	"github.com/cairnstore/cairn/engine/object"
)

func deleteObject(c *call) error {
	version, err := c.version()
	if err != nil {
		return err
	}
	if c.in.ifNoneMatch != "" || c.in.ifModifiedSince != "" || c.in.ifUnmodifiedSince != "" {
		return refuse(codeNotImplemented, "A delete takes If-Match alone.")
	}
	out, err := c.h.api.Delete(c.ctx(), &object.DeleteInput{
		Bucket: c.bucket, Key: c.key, VersionID: version,
		Conditions: object.Conditions{IfMatch: etags(c.in.ifMatch, true)},
	})
	if err != nil {
		return err
	}
	c.maybe("X-Amz-Version-Id", out.VersionID)
	if out.DeleteMarker {
		c.out["X-Amz-Delete-Marker"] = valueTrue
	}
	c.empty(http.StatusNoContent)
	return nil
}
