package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"

	"github.com/cairnstore/cairn/engine/internal/checksum"
	"github.com/cairnstore/cairn/engine/object"
)

// uploadID reads it; an empty one names no upload.
func (c *call) uploadID() (string, error) {
	id := c.q.get("uploadId")
	if id == "" {
		return "", refuse(codeNoSuchUpload, "", field{"UploadId", id})
	}
	return id, nil
}

func createUpload(c *call) error {
	in := &object.CreateUploadInput{Bucket: c.bucket, Key: c.key, Owner: c.h.owner.ID}
	var err error
	if in.Headers, err = c.stored(); err != nil {
		return err
	}
	if in.Tags, err = parseTagging(c.in.tagging); err != nil {
		return err
	}
	if in.Checksum, in.ChecksumType, err = c.in.uploadChecksum(); err != nil {
		return err
	}
	if in.Conditions, err = c.writeConditions(); err != nil {
		return err
	}
	id, err := c.h.api.CreateUpload(c.ctx(), in)
	if err != nil {
		return err
	}
	if in.Checksum != object.NoChecksum {
		c.set("X-Amz-Checksum-Algorithm", in.Checksum.String())
		c.set("X-Amz-Checksum-Type", typeName(in.ChecksumType))
	}
	return c.respond(func(x *xmlWriter) {
		x.root("InitiateMultipartUploadResult")
		x.text("Bucket", c.bucket)
		x.text("Key", c.key)
		x.text("UploadId", id)
		x.close("InitiateMultipartUploadResult")
	})
}

// uploadChecksum reads an upload's algorithm and type. Not every pair exists:
// "Checking object integrity", table of full object and composite types.
func (h *headers) uploadChecksum() (checksum.Algorithm, object.ChecksumType, error) {
	name := h.algorithm
	if name == "" {
		name = h.sdkAlgorithm
	}
	if name == "" {
		if h.checksumType != "" {
			return 0, 0, refuse(codeInvalidRequest, "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
		}
		return object.NoChecksum, object.FullObject, nil
	}
	a, err := parseAlgorithm("x-amz-checksum-algorithm", name)
	if err != nil {
		return 0, 0, err
	}
	unfit := refuse(codeInvalidRequest, "The "+strings.ToUpper(h.checksumType)+" checksum type cannot be used with the "+strings.ToLower(a.String())+" checksum algorithm.")
	switch h.checksumType {
	case "":
		if a == object.CRC64NVME {
			return a, object.FullObject, nil
		}
		return a, object.Composite, nil
	case typeComposite:
		if a == object.CRC64NVME {
			return 0, 0, unfit
		}
		return a, object.Composite, nil
	case typeFullObject:
		if !a.Combines() {
			return 0, 0, unfit
		}
		return a, object.FullObject, nil
	}
	return 0, 0, refuse(codeInvalidRequest, "Value for x-amz-checksum-type header is invalid.")
}

func uploadPart(c *call) error {
	in := &c.part
	in.Bucket, in.Key, in.Body = c.bucket, c.key, c.who.Body
	var err error
	if in.UploadID, err = c.uploadID(); err != nil {
		return err
	}
	if in.PartNumber, err = partNumber(c.q.get("partNumber")); err != nil {
		return err
	}
	if in.Size, err = c.uploadSize(); err != nil {
		return err
	}
	if in.ContentMD5, err = c.expectedMD5(); err != nil {
		return err
	}
	if in.Checksum, in.ChecksumTrailer, err = c.expectedChecksum(); err != nil {
		return err
	}
	upload, err := c.h.api.CheckUpload(c.ctx(), c.bucket, c.key, in.UploadID)
	if err != nil {
		return err
	}
	if err := fitChecksum(&in.Checksum, upload.Checksum); err != nil {
		return err
	}
	out, err := c.h.api.UploadPart(c.ctx(), in)
	if err != nil {
		return err
	}
	c.record.In = out.Size
	c.set("ETag", quoted(out.ETag))
	if out.Checksum.Algorithm != object.NoChecksum && len(out.Checksum.Value) > 0 {
		c.set(checksumNames[out.Checksum.Algorithm], checksumText(out.Checksum))
	}
	c.empty(http.StatusOK)
	return nil
}

// fitChecksum holds a part to its upload's algorithm: one without a value gets
// it computed, one of another algorithm is refused.
func fitChecksum(part *object.Checksum, upload checksum.Algorithm) error {
	switch {
	case upload == object.NoChecksum || part.Algorithm == upload:
		return nil
	case part.Algorithm == object.NoChecksum:
		part.Algorithm = upload
		return nil
	}
	return refuse(codeInvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: "+strings.ToLower(upload.String())+
		", actual checksum Type: "+strings.ToLower(part.Algorithm.String()))
}

func copyPart(c *call) error {
	src, err := parseSource(c.in.copySource)
	if err != nil {
		return err
	}
	in := &object.CopyPartInput{
		SourceBucket: src.bucket, SourceKey: src.key, SourceVersionID: src.version, SourceConditions: c.sourceConditions(),
		Bucket: c.bucket, Key: c.key,
	}
	if in.UploadID, err = c.uploadID(); err != nil {
		return err
	}
	if in.PartNumber, err = partNumber(c.q.get("partNumber")); err != nil {
		return err
	}
	if in.SourceRange, err = parseCopyRange(c.in.copyRange, c.in.hasCopyRange); err != nil {
		return err
	}
	var part object.PartInfo
	var version string
	work := func() (err error) {
		part, version, err = c.h.api.CopyPart(c.ctx(), in)
		return err
	}
	head := func() { c.maybe("X-Amz-Copy-Source-Version-Id", version) }
	return c.slowly(work, head, func(x *xmlWriter) {
		x.root("CopyPartResult")
		x.etag("ETag", part.ETag)
		x.time("LastModified", part.Modified)
		x.partChecksum(part.Checksum)
		x.close("CopyPartResult")
	})
}

// partChecksum writes a part's value, which has no type of its own.
func (x *xmlWriter) partChecksum(s object.Checksum) {
	if s.Algorithm != object.NoChecksum && len(s.Value) > 0 {
		x.text("Checksum"+s.Algorithm.String(), checksumText(s))
	}
}

type completeDocument struct {
	XMLName xml.Name      `xml:"CompleteMultipartUpload"`
	Parts   completeParts `xml:"Part"`
}

// completeParts are not read on when there are more than may be: each takes a hundred times
// the memory that it has in the document.
type completeParts []completePart

func (l *completeParts) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	return appendElement((*[]completePart)(l), maxParts, d, start)
}

type completePart struct {
	Number    *int   `xml:"PartNumber"`
	ETag      string `xml:"ETag"`
	CRC32     string `xml:"ChecksumCRC32"`
	CRC32C    string `xml:"ChecksumCRC32C"`
	CRC64NVME string `xml:"ChecksumCRC64NVME"`
	SHA1      string `xml:"ChecksumSHA1"`
	SHA256    string `xml:"ChecksumSHA256"`
}

// parseComplete reads the parts that an upload shall be made of.
func parseComplete(b []byte) ([]object.PartInfo, error) {
	var d completeDocument
	if err := parseXML(b, &d); err != nil {
		return nil, err
	}
	if len(d.Parts) == 0 {
		return nil, refuse(codeMalformedXML, "")
	}
	parts := make([]object.PartInfo, len(d.Parts))
	for i := range d.Parts {
		p := &d.Parts[i]
		if p.Number == nil || p.ETag == "" {
			return nil, refuse(codeMalformedXML, "")
		}
		if *p.Number < 1 || *p.Number > maxParts {
			return nil, argument("partNumber", strconv.Itoa(*p.Number), "Part number must be an integer between 1 and 10000, inclusive")
		}
		sum, err := p.checksum()
		if err != nil {
			return nil, err
		}
		parts[i] = object.PartInfo{Number: *p.Number, ETag: strings.Trim(p.ETag, `"`), Checksum: sum}
	}
	return parts, nil
}

func (p *completePart) checksum() (object.Checksum, error) {
	values := [...]string{"", p.CRC32, p.CRC32C, p.CRC64NVME, p.SHA1, p.SHA256}
	for _, a := range checksum.Algorithms {
		if v := values[a]; v != "" {
			b, err := decodeChecksum(a, v)
			return object.Checksum{Algorithm: a, Value: b}, err
		}
	}
	return object.Checksum{}, nil
}

func completeUpload(c *call) error {
	in, err := c.completeInput()
	if err != nil {
		return err
	}
	var out object.PutOutput
	work := func() (err error) {
		out, err = c.h.api.Complete(c.ctx(), in)
		return err
	}
	head := func() { c.maybe("X-Amz-Version-Id", out.VersionID) }
	return c.slowly(work, head, func(x *xmlWriter) {
		x.root("CompleteMultipartUploadResult")
		x.text("Location", c.locationOf(c.bucket, c.key))
		x.text("Bucket", c.bucket)
		x.text("Key", c.key)
		x.etag("ETag", out.ETag)
		x.checksum(out.Checksum)
		x.close("CompleteMultipartUploadResult")
	})
}

func (c *call) completeInput() (*object.CompleteInput, error) {
	in := &object.CompleteInput{Bucket: c.bucket, Key: c.key, Size: -1}
	var err error
	if in.UploadID, err = c.uploadID(); err != nil {
		return nil, err
	}
	if in.Conditions, err = c.writeConditions(); err != nil {
		return nil, err
	}
	if in.Checksum, err = c.in.wholeChecksum(); err != nil {
		return nil, err
	}
	in.TypeGiven = c.in.checksumType != ""
	if s := c.in.objectSize; s != "" {
		if in.Size, err = strconv.ParseInt(s, 10, 64); err != nil || in.Size < 0 {
			return nil, refuse(codeInvalidRequest, "Value for x-amz-mp-object-size header is invalid.")
		}
	}
	// A checksum header here is of the object, not of the document.
	err = c.readBody(maxLongDocument, func(b []byte) error {
		if err := c.checkMD5(b); err != nil {
			return err
		}
		var err error
		in.Parts, err = parseComplete(b)
		return err
	})
	return in, err
}

func (c *call) checkMD5(b []byte) error {
	want, err := c.expectedMD5()
	if err != nil || want == nil {
		return err
	}
	if got := md5.Sum(b); !bytes.Equal(got[:], want) {
		return refuse(objectCodes[object.BadDigest], "")
	}
	return nil
}

// wholeChecksum reads the object's checksum from a Complete's headers: a
// composite one may end in -parts.
func (h *headers) wholeChecksum() (object.Checksum, error) {
	if h.checksums > 1 {
		return object.Checksum{}, refuse(codeInvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	sum := object.Checksum{}
	switch h.checksumType {
	case "", typeFullObject:
	case typeComposite:
		sum.Type = object.Composite
	default:
		return sum, refuse(codeInvalidRequest, "Value for x-amz-checksum-type header is invalid.")
	}
	if h.checksums == 0 {
		return sum, nil
	}
	sum.Algorithm = h.checksum
	value, count, composite := strings.Cut(h.checksumValue, "-")
	if composite {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > maxParts {
			return sum, refuse(codeInvalidRequest, "Value for "+h.checksum.Header()+" header is invalid.")
		}
		if h.checksumType == typeFullObject {
			return sum, refuse(codeInvalidRequest, "Value for x-amz-checksum-type header is invalid.")
		}
		sum.Type, sum.Parts = object.Composite, n
	}
	var err error
	sum.Value, err = decodeChecksum(h.checksum, value)
	return sum, err
}

// locationOf is an object's URL as this request could have named it.
func (c *call) locationOf(bucket, key string) string {
	scheme := "http://"
	if c.r.TLS != nil {
		scheme = "https://"
	}
	b := make([]byte, 0, len(scheme)+len(c.r.Host)+len(bucket)+len(key)+2)
	b = append(append(append(b, scheme...), c.r.Host...), '/')
	if _, hosted := HostBucket(c.h.domains, c.r.Host); !hosted {
		b = append(append(b, bucket...), '/')
	}
	return string(appendURLEncoded(b, key))
}

func abortUpload(c *call) error {
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	if err := c.h.api.AbortUpload(c.ctx(), c.bucket, c.key, id); err != nil {
		return err
	}
	c.empty(http.StatusNoContent)
	return nil
}

func listParts(c *call) error {
	id, err := c.uploadID()
	if err != nil {
		return err
	}
	in := object.ListPartsInput{Bucket: c.bucket, Key: c.key, UploadID: id}
	if in.MaxParts, err = c.q.page("max-parts", maxPageKeys); err != nil {
		return err
	}
	if in.After, err = c.q.number("part-number-marker", 0, 0); err != nil {
		return err
	}
	encoded, err := c.urlEncoded()
	if err != nil {
		return err
	}
	out, err := c.h.api.ListParts(c.ctx(), &in)
	if err != nil {
		return err
	}
	return c.respond(func(x *xmlWriter) {
		x.root("ListPartsResult")
		x.text("Bucket", c.bucket)
		x.name("Key", c.key, encoded)
		x.text("UploadId", id)
		x.owner("Initiator", &c.h.owner)
		x.owner("Owner", &c.h.owner)
		x.storageClass(out.Upload.StorageClass)
		x.int("PartNumberMarker", int64(in.After))
		x.int("NextPartNumberMarker", int64(lastPart(out.Parts)))
		x.int("MaxParts", int64(in.MaxParts))
		x.bool("IsTruncated", out.Truncated)
		if out.Upload.Checksum != object.NoChecksum {
			x.text("ChecksumAlgorithm", out.Upload.Checksum.String())
			x.text("ChecksumType", typeName(out.Upload.ChecksumType))
		}
		for i := range out.Parts {
			p := &out.Parts[i]
			x.open("Part")
			x.int("PartNumber", int64(p.Number))
			x.time("LastModified", p.Modified)
			x.etag("ETag", p.ETag)
			x.int("Size", p.Size)
			x.partChecksum(p.Checksum)
			x.close("Part")
		}
		x.close("ListPartsResult")
	})
}

func listUploads(c *call) error {
	encoded, err := c.urlEncoded()
	if err != nil {
		return err
	}
	in := object.ListUploadsInput{
		Bucket: c.bucket, Prefix: c.q.get("prefix"), Delimiter: c.q.get("delimiter"),
		KeyMarker: c.q.get("key-marker"), UploadIDMarker: c.q.get("upload-id-marker"),
	}
	if in.MaxUploads, err = c.q.page("max-uploads", maxPageKeys); err != nil {
		return err
	}
	if in.KeyMarker == "" {
		in.UploadIDMarker = "" // S3 ignores it then
	}
	var out object.ListUploadsOutput
	if in.MaxUploads == 0 {
		_, err = c.h.api.Bucket(c.ctx(), c.bucket)
	} else {
		out, err = c.h.api.ListUploads(c.ctx(), &in)
	}
	if err != nil {
		return err
	}
	return c.respond(func(x *xmlWriter) {
		x.root("ListMultipartUploadsResult")
		x.text("Bucket", c.bucket)
		x.name("KeyMarker", in.KeyMarker, encoded)
		x.text("UploadIdMarker", in.UploadIDMarker)
		if out.Truncated {
			x.name("NextKeyMarker", out.NextKeyMarker, encoded)
			x.text("NextUploadIdMarker", out.NextUploadIDMarker)
		}
		if in.Delimiter != "" {
			x.name("Delimiter", in.Delimiter, encoded)
		}
		x.name("Prefix", in.Prefix, encoded)
		x.int("MaxUploads", int64(in.MaxUploads))
		x.bool("IsTruncated", out.Truncated)
		if encoded {
			x.text("EncodingType", "url")
		}
		for i := range out.Uploads {
			u := &out.Uploads[i]
			x.open("Upload")
			x.name("Key", u.Key, encoded)
			x.text("UploadId", u.UploadID)
			x.owner("Initiator", &c.h.owner)
			x.owner("Owner", &c.h.owner)
			x.storageClass(u.StorageClass)
			x.time("Initiated", u.Initiated)
			if u.Checksum != object.NoChecksum {
				x.text("ChecksumAlgorithm", u.Checksum.String())
				x.text("ChecksumType", typeName(u.ChecksumType))
			}
			x.close("Upload")
		}
		x.prefixes(out.Prefixes, encoded)
		x.close("ListMultipartUploadsResult")
	})
}
