package s3

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"github.com/cairnstore/cairn/engine/object"
)

type taggingDocument struct {
	XMLName xml.Name `xml:"Tagging"`
	Set     *struct {
		Tags []struct {
			Key   *string `xml:"Key"`
			Value *string `xml:"Value"`
		} `xml:"Tag"`
	} `xml:"TagSet"`
}

// tags returns the document's, never nil: nil would delete them.
func (d *taggingDocument) tags() ([]object.Tag, error) {
	if d.Set == nil {
		return nil, refuse(codeMalformedXML, "")
	}
	tags := make([]object.Tag, 0, len(d.Set.Tags))
	for _, t := range d.Set.Tags {
		if t.Key == nil || t.Value == nil {
			return nil, refuse(codeMalformedXML, "")
		}
		tags = append(tags, object.Tag{Key: *t.Key, Value: *t.Value})
	}
	return tags, nil
}

// parseTagging reads x-amz-tagging: a form's encoding of keys and values.
func parseTagging(s string) ([]object.Tag, error) {
	if s == "" {
		return nil, nil
	}
	var tags []object.Tag
	for pair := range strings.SplitSeq(s, "&") {
		if pair == "" {
			continue
		}
		k, v, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err != nil || err2 != nil || key == "" {
			return nil, malformedTagging(s)
		}
		for i := range tags {
			if tags[i].Key == key {
				return nil, malformedTagging(s)
			}
		}
		if len(tags) == maxTagsParsed {
			return nil, refuse(objectCodes[object.TooManyTags], "Object tags cannot be greater than 10")
		}
		tags = append(tags, object.Tag{Key: key, Value: value})
	}
	return tags, nil
}

// maxTagsParsed bounds the search for duplicates; object has the limit of each kind.
const maxTagsParsed = 50

func malformedTagging(s string) error {
	return argument("x-amz-tagging", s, "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
}

func (c *call) respondTags(tags []object.Tag) error {
	return c.respond(func(x *xmlWriter) {
		x.root("Tagging")
		x.open("TagSet")
		for _, t := range tags {
			x.open("Tag")
			x.text("Key", t.Key)
			x.text("Value", t.Value)
			x.close("Tag")
		}
		x.close("TagSet")
		x.close("Tagging")
	})
}

func (c *call) readTags() ([]object.Tag, error) {
	var d taggingDocument
	if err := c.readXML(maxDocument, &d); err != nil {
		return nil, err
	}
	return d.tags()
}

func getBucketTags(c *call) error {
	tags, err := c.h.api.BucketTags(c.ctx(), c.bucket)
	if err != nil {
		return err
	}
	return c.respondTags(tags)
}

func putBucketTags(c *call) error {
	tags, err := c.readTags()
	if err != nil {
		return err
	}
	if err := c.h.api.SetBucketTags(c.ctx(), c.bucket, tags); err != nil {
		return err
	}
	c.empty(http.StatusOK)
	return nil
}

func deleteBucketTags(c *call) error {
	if err := c.h.api.SetBucketTags(c.ctx(), c.bucket, nil); err != nil {
		return err
	}
	c.empty(http.StatusNoContent)
	return nil
}

func getTags(c *call) error {
	id, err := c.version()
	if err != nil {
		return err
	}
	tags, version, err := c.h.api.Tags(c.ctx(), c.bucket, c.key, id)
	if err != nil {
		return err
	}
	c.maybe("X-Amz-Version-Id", version)
	return c.respondTags(tags)
}

func putTags(c *call) error {
	id, err := c.version()
	if err != nil {
		return err
	}
	tags, err := c.readTags()
	if err != nil {
		return err
	}
	return c.setTags(id, tags, http.StatusOK)
}

func deleteTags(c *call) error {
	id, err := c.version()
	if err != nil {
		return err
	}
	return c.setTags(id, nil, http.StatusNoContent)
}

func (c *call) setTags(id string, tags []object.Tag, status int) error {
	version, err := c.h.api.SetTags(c.ctx(), c.bucket, c.key, id, tags)
	if err != nil {
		return err
	}
	c.maybe("X-Amz-Version-Id", version)
	c.empty(status)
	return nil
}
