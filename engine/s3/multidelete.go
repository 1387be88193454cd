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
	Objects deleteEntries `xml:"Object"`
}

type deleteEntries []deleteEntry

func (l *deleteEntries) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	return appendElement((*[]deleteEntry)(l), maxDeleteKeys, d, start)
}

// A deleteEntry has lists, so that what was said twice is refused.
type deleteEntry struct {
	Keys       once    `xml:"Key"`
	VersionIDs once    `xml:"VersionId"`
	ETags      once    `xml:"ETag"`
	Modified   *string `xml:"LastModifiedTime"` // directory buckets'
	Size       *string `xml:"Size"`             // directory buckets'
}

// once is the text of an element that may stand once.
type once []string

func (l *once) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	return appendElement((*[]string)(l), 1, d, start)
}

// appendElement reads an element of which there may be so many.
func appendElement[T any](list *[]T, most int, d *xml.Decoder, start xml.StartElement) error {
	if len(*list) == most {
		return fmt.Errorf("more than %d of %s", most, start.Name.Local)
	}
	var v T
	if err := d.DecodeElement(&v, &start); err != nil {
		return err
	}
	*list = append(*list, v)
	return nil
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
	if len(d.Objects) == 0 {
		return refuse(codeMalformedXML, "")
	}
	for i := range d.Objects {
		if len(d.Objects[i].Keys) == 0 {
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
