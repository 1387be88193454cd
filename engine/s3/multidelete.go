package s3

import (
	"encoding/xml"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/cairnstore/cairn/engine/object"
)

type deleteDocument struct {
	XMLName xml.Name      `xml:"Delete"`
	Quiet   bool          `xml:"Quiet"`
	Objects []deleteEntry `xml:"Object"`
}

// A deleteEntry has lists, so that what was said twice is seen to be.
type deleteEntry struct {
	Keys       []string `xml:"Key"`
	VersionIDs []string `xml:"VersionId"`
	ETags      []string `xml:"ETag"`
	Modified   *string  `xml:"LastModifiedTime"` // directory buckets'
	Size       *string  `xml:"Size"`             // directory buckets'
}

func (e *deleteEntry) key() string { return e.Keys[0] }

func (e *deleteEntry) version() string {
	if len(e.VersionIDs) == 0 {
		return ""
	}
	return e.VersionIDs[0]
}

// conditions are the ETag's.
func (e *deleteEntry) conditions() (object.Conditions, error) {
	if len(e.ETags) == 0 {
		return object.Conditions{}, nil
	}
	if namesNone(e.ETags[0]) {
		return object.Conditions{}, argument("ETag", e.ETags[0], "The element names no entity tag.")
	}
	return object.Conditions{IfMatch: etags(e.ETags[0], true)}, nil
}

type deleteResult struct {
	out object.DeleteOutput
	err error
}

// deleteWorkers is how many of one request's deletes run at once: each waits
// for its commit, and those that wait together share one sync.
const deleteWorkers = 64

func deleteObjects(c *call) error {
	if !c.digested() {
		return refuse(codeInvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	var doc deleteDocument
	if err := c.readXML(maxLongDocument, &doc); err != nil {
		return err
	}
	if err := doc.check(); err != nil {
		return err
	}
	if _, err := c.h.api.Bucket(c.ctx(), c.bucket); err != nil {
		return err
	}
	results := c.deleteAll(doc.Objects)
	return c.respond(func(x *xmlWriter) {
		x.root("DeleteResult")
		for i := range results {
			x.deleted(&doc.Objects[i], &results[i], doc.Quiet)
		}
		x.close("DeleteResult")
	})
}

func (d *deleteDocument) check() error {
	if len(d.Objects) == 0 || len(d.Objects) > maxDeleteKeys {
		return refuse(codeMalformedXML, "")
	}
	for i := range d.Objects {
		if e := &d.Objects[i]; len(e.Keys) != 1 || len(e.VersionIDs) > 1 || len(e.ETags) > 1 {
			return refuse(codeMalformedXML, "")
		}
	}
	return nil
}

// deleteAll deletes each entry for itself; one that fails stops no other.
func (c *call) deleteAll(entries []deleteEntry) []deleteResult {
	results := make([]deleteResult, len(entries))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(deleteWorkers, len(entries)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(entries) {
					return
				}
				results[i] = c.deleteOne(&entries[i])
			}
		})
	}
	wg.Wait()
	return results
}

func (c *call) deleteOne(e *deleteEntry) (r deleteResult) {
	defer func() {
		if p := recover(); p != nil {
			c.h.logger.Error("panic while deleting", "request_id", c.record.RequestID, "panic", p, "stack", string(debug.Stack()))
			r.err = fmt.Errorf("panic: %v", p)
		}
	}()
	if e.Modified != nil || e.Size != nil {
		r.err = refuse(codeNotImplemented, "")
		return r
	}
	in := object.DeleteInput{Bucket: c.bucket, Key: e.key(), VersionID: e.version()}
	if in.Conditions, r.err = e.conditions(); r.err == nil {
		r.out, r.err = c.h.api.Delete(c.ctx(), &in)
	}
	if object.KindOf(r.err) == object.InvalidVersionID { // here S3 says of any text that no version has it
		r.err = refuse(objectCodes[object.NoSuchVersion], "")
	}
	return r
}

func (x *xmlWriter) deleted(e *deleteEntry, r *deleteResult, quiet bool) {
	if r.err != nil {
		w := refusalOf(r.err)
		x.open("Error")
		x.text("Key", e.key())
		x.optional("VersionId", e.version())
		x.text("Code", w.name)
		x.text("Message", w.text())
		x.close("Error")
		return
	}
	if quiet {
		return
	}
	x.open("Deleted")
	x.text("Key", e.key())
	x.optional("VersionId", e.version())
	if r.out.DeleteMarker {
		x.bool("DeleteMarker", true)
		x.optional("DeleteMarkerVersionId", r.out.VersionID)
	}
	x.close("Deleted")
}
