package s3

import (
	"bytes"
	"encoding/xml"
	"net/http"

	"github.com/cairnstore/cairn/engine/object"
)

type bucketConfiguration struct {
	XMLName            xml.Name  `xml:"CreateBucketConfiguration"`
	LocationConstraint string    `xml:"LocationConstraint"`
	Location           *struct{} `xml:"Location"`
	Bucket             *struct{} `xml:"Bucket"`
	Tags               *struct{} `xml:"Tags"`
}

func createBucket(c *call) error {
	region := c.h.region
	err := c.readBody(maxDocument, func(b []byte) error {
		if err := c.checkDocument(b); err != nil {
			return err
		}
		if len(bytes.TrimSpace(b)) == 0 {
			return nil
		}
		return c.h.checkBucketConfiguration(b)
	})
	if err != nil {
		return err
	}
	if err := c.h.api.CreateBucket(c.ctx(), c.bucket, region, c.h.owner.ID); err != nil {
		return err
	}
	c.set("Location", "/"+c.bucket)
	c.empty(http.StatusOK)
	return nil
}

// checkBucketConfiguration accepts the one region that there is, or any if none was set.
func (h *Handler) checkBucketConfiguration(b []byte) error {
	var v bucketConfiguration
	if err := parseXML(b, &v); err != nil {
		return err
	}
	if v.Location != nil || v.Bucket != nil || v.Tags != nil {
		return refuse(codeNotImplemented, "Directory buckets and tags given with a bucket's creation are not implemented.")
	}
	if l := v.LocationConstraint; l != "" && l != h.region && !h.anyRegion {
		return refuse(codeInvalidLocation, "", field{"LocationConstraint", l})
	}
	return nil
}

func headBucket(c *call) error {
	b, err := c.h.api.Bucket(c.ctx(), c.bucket)
	if err != nil {
		return err
	}
	c.set("X-Amz-Bucket-Region", c.h.regionOf(&b))
	c.set("X-Amz-Access-Point-Alias", "false")
	c.out["Content-Type"] = valueXML
	c.writeHeader(http.StatusOK)
	return nil
}

func deleteBucket(c *call) error {
	if err := c.h.api.DeleteBucket(c.ctx(), c.bucket); err != nil {
		return err
	}
	c.empty(http.StatusNoContent)
	return nil
}

// empty answers without a body.
func (c *call) empty(status int) {
	if status != http.StatusNoContent {
		c.out["Content-Length"] = valueZero
	}
	c.writeHeader(status)
}

// getLocation answers an empty element for us-east-1, as S3 does for its oldest region.
func getLocation(c *call) error {
	b, err := c.h.api.Bucket(c.ctx(), c.bucket)
	if err != nil {
		return err
	}
	region := c.h.regionOf(&b)
	if region == defaultRegion {
		region = ""
	}
	return c.respond(func(x *xmlWriter) {
		x.root("LocationConstraint")
		x.b = appendEscaped(x.b, region)
		x.close("LocationConstraint")
	})
}

func getVersioning(c *call) error {
	b, err := c.h.api.Bucket(c.ctx(), c.bucket)
	if err != nil {
		return err
	}
	return c.respond(func(x *xmlWriter) {
		x.root("VersioningConfiguration")
		switch b.Versioning {
		case object.Enabled:
			x.text("Status", "Enabled")
		case object.Suspended:
			x.text("Status", "Suspended")
		}
		x.close("VersioningConfiguration")
	})
}

type versioningConfiguration struct {
	XMLName   xml.Name  `xml:"VersioningConfiguration"`
	Status    string    `xml:"Status"`
	MFADelete string    `xml:"MfaDelete"`
	Excluded  *struct{} `xml:"ExcludedPrefixes"` // MinIO's
	Folders   bool      `xml:"ExcludeFolders"`   // MinIO's
}

func putVersioning(c *call) error {
	var v versioningConfiguration
	if err := c.readXML(maxDocument, &v); err != nil {
		return err
	}
	state, err := v.state()
	if err != nil {
		return err
	}
	if err := c.h.api.SetVersioning(c.ctx(), c.bucket, state); err != nil {
		return err
	}
	c.empty(http.StatusOK)
	return nil
}

func (v *versioningConfiguration) state() (object.Versioning, error) {
	if v.MFADelete == "Enabled" || v.Excluded != nil || v.Folders {
		return 0, refuse(codeNotImplemented, "MFA delete and exclusions from versioning are not implemented.")
	}
	switch v.Status {
	case "Enabled":
		return object.Enabled, nil
	case "Suspended":
		return object.Suspended, nil
	}
	return 0, refuse(codeIllegalVersioning, "")
}
