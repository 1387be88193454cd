package s3

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/cairnstore/cairn/engine/object"
)

func getObject(c *call) error {
	out, err := c.open(true)
	if err != nil {
		return err
	}
	defer out.Body.Close()
	if err := c.tell(out); err != nil {
		return err
	}
	body := &c.body
	body.call, body.status = c, statusOf(out)
	n, err := copyBody(body, out.Body)
	c.record.Out = n
	switch {
	case err != nil && c.wrote && body.failed:
		return &refusal{code: codeClientGone, err: err}
	case err != nil:
		return fmt.Errorf("get: body: %w", err)
	case n != out.Length:
		return fmt.Errorf("get: body has %d bytes, %d were promised", n, out.Length)
	case !c.wrote:
		c.writeHeader(body.status)
	}
	return nil
}

func headObject(c *call) error {
	out, err := c.open(false)
	if err != nil {
		return err
	}
	if err := c.tell(out); err != nil {
		return err
	}
	c.writeHeader(statusOf(out))
	return nil
}

func statusOf(out *object.GetOutput) int {
	if out.Partial {
		return http.StatusPartialContent
	}
	return http.StatusOK
}

// open reads what the request asks for, with its body or without.
func (c *call) open(withBody bool) (*object.GetOutput, error) {
	in := &c.get
	in.Bucket, in.Key = c.bucket, c.key
	var err error
	if in.VersionID, err = c.version(); err != nil {
		return nil, err
	}
	in.Conditions = c.readConditions()
	if c.in.byteRange != "" {
		in.Range, _ = parseRange(c.in.byteRange)
		in.IfRange = c.rangeCondition()
	}
	if v, ok := c.q.lookup("partNumber"); ok {
		if in.Range.Set {
			return nil, refuse(codeInvalidRequest, "Cannot specify both Range header and partNumber query parameter")
		}
		if in.PartNumber, err = partNumber(v); err != nil {
			return nil, err
		}
	}
	if withBody {
		return c.h.api.Get(c.ctx(), in)
	}
	return c.h.api.Head(c.ctx(), in)
}

// version reads versionId, which may be absent but not empty.
func (c *call) version() (string, error) {
	v, ok := c.q.lookup("versionId")
	if ok && v == "" {
		return "", argument("versionId", v, "Version id cannot be the empty string")
	}
	return v, nil
}

func partNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxParts {
		return 0, argument("partNumber", s, "Part number must be an integer between 1 and 10000, inclusive")
	}
	return n, nil
}

// tell sets the headers of an object's answer.
func (c *call) tell(out *object.GetOutput) error {
	c.describe(&out.Info)
	c.set("Content-Length", strconv.FormatInt(out.Length, 10))
	if out.Partial {
		b := make([]byte, 0, 48)
		b = append(b, "bytes "...)
		b = strconv.AppendInt(b, out.Offset, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, out.Offset+out.Length-1, 10)
		b = append(b, '/')
		b = strconv.AppendInt(b, out.Size, 10)
		// A part of no bytes has no range to name.
		if out.Length > 0 {
			c.set("Content-Range", string(b))
		}
	}
	if out.PartsCount > 0 {
		c.set("X-Amz-Mp-Parts-Count", strconv.Itoa(out.PartsCount))
	}
	if c.in.checksumMode == "ENABLED" {
		c.tellChecksumOf(out)
	}
	return c.override()
}

// tellChecksumOf tells the checksum of what is sent: a part's own, the whole
// object's, none of a range. Another would make clients verify the wrong bytes.
func (c *call) tellChecksumOf(out *object.GetOutput) {
	switch {
	case out.PartChecksum.Algorithm != object.NoChecksum:
		part := out.PartChecksum
		part.Type = out.Checksum.Type // how the object's came about, as S3 has it; the value is the part's
		c.tellChecksum(part)
	case !out.Partial || out.Length == out.Size:
		c.tellChecksum(out.Checksum)
	}
}

// An answerBody sends the status line with the first bytes, so that a body
// whose first read fails still gets an error's.
type answerBody struct {
	*call
	status int
	failed bool // the client's side failed, not the body
}

func (a *answerBody) Write(b []byte) (int, error) {
	if !a.wrote {
		a.writeHeader(a.status)
	}
	n, err := a.w.Write(b)
	if err != nil {
		a.failed = true
	}
	return n, err
}

// A vectorWriter takes several pieces at once. It borrows them until it returns.
type vectorWriter interface {
	WriteVector(pieces [][]byte) (int64, error)
}

// WriteVector is Write of all pieces, in one where the connection takes vectors.
func (a *answerBody) WriteVector(pieces [][]byte) (sent int64, err error) {
	v, ok := a.w.(vectorWriter)
	if !ok {
		for _, p := range pieces {
			n, err := a.Write(p)
			if sent += int64(n); err != nil {
				return sent, err
			}
		}
		return sent, nil
	}
	if !a.wrote {
		a.writeHeader(a.status)
	}
	if sent, err = v.WriteVector(pieces); err != nil {
		a.failed = true
	}
	return sent, err
}

var copyBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func copyBody(w io.Writer, body io.Reader) (int64, error) {
	if wt, ok := body.(io.WriterTo); ok {
		return wt.WriteTo(w)
	}
	buf := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(w, body, buf[:])
}
