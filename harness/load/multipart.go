package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Multipart says how a MULTIPART operation uploads: it is begun, its parts are
// put one after the other, and it is completed. Its latency is of all of that.
type Multipart struct {
	Parts int
	// Bodies of the parts, all of one size: at least 5 MiB, which S3 asks of all
	// parts but the last.
	Bodies *Bodies
	// ReadBack is the share of uploads that are read again and compared, which
	// is no part of their latency.
	ReadBack float64
}

func (m *Multipart) validate() error {
	switch {
	case m == nil || m.Bodies == nil:
		return errors.New("load: a multipart upload needs parts")
	case m.Parts < 1 || m.Parts > 10_000:
		return fmt.Errorf("load: a multipart upload of %d parts: S3 takes 1 to 10000", m.Parts)
	case m.Bodies.Smallest() != m.Bodies.Largest():
		return errors.New("load: parts must be of one size")
	}
	return nil
}

// partNumber is the number of an upload's part among all bodies of parts.
func partNumber(id uint64, part int) uint64 { return id*10_000 + uint64(part) }

// multipart uploads one object in parts.
func (c *client) multipart(now time.Time, id uint64) (int64, error) {
	m := c.ws.Multipart
	path := c.object(c.ws.Fresh, id)
	c.q = request{method: "POST", path: path, query: []byte("uploads="), payload: emptyPayload, want: 200}
	var answer errorBody
	if _, err := c.do(now, &c.q, &answer); err != nil {
		return 0, fmt.Errorf("begin: %w", err)
	}
	raw, _, ok := xmlElement(answer.text, "UploadId")
	if !ok || len(raw) == 0 {
		return 0, badBody{errors.New("begin: the answer names no upload")}
	}
	upload, err := appendXMLText(nil, raw)
	if err != nil {
		return 0, badBody{fmt.Errorf("begin: %w", err)}
	}
	upload = appendQueryEscaped([]byte("uploadId="), upload)

	list := []byte(`<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`)
	body := m.Bodies.NewBody()
	for part := 1; part <= m.Parts; part++ {
		body.Set(partNumber(id, part), 0)
		query := append(strconv.AppendInt([]byte("partNumber="), int64(part), 10), '&')
		c.q = request{method: "PUT", path: path, query: append(query, upload...), payload: body.SHA256(), prefix: body.Prefix, tail: body.Tail, want: 200}
		if _, err := c.do(time.Now(), &c.q, nothing{}); err != nil {
			c.abort(path, upload)
			return 0, fmt.Errorf("part %d: %w", part, err)
		}
		list = fmt.Appendf(list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", part, c.res.etag[:c.res.etagLen])
	}
	list = append(list, "</CompleteMultipartUpload>"...)
	c.q = request{method: "POST", path: path, query: upload, payload: []byte(hashOf(list)), prefix: list, want: 200}
	answer.text = answer.text[:0]
	if _, err := c.do(time.Now(), &c.q, &answer); err != nil {
		c.abort(path, upload)
		return 0, fmt.Errorf("complete: %w", err)
	}
	// An error may come in a 200, since a server may answer before it is done
	// (S3 API Reference, CompleteMultipartUpload).
	if bytes.Contains(answer.text, []byte("<Error>")) {
		return 0, badBody{fmt.Errorf("complete: %s: %s", answer.element("Code"), answer.element("Message"))}
	}
	return int64(m.Parts) * int64(m.Bodies.Largest()), nil
}

// abort takes a failed upload's parts away, as far as that goes: its own
// failure is not that of the upload.
func (c *client) abort(path, upload []byte) {
	c.q = request{method: "DELETE", path: path, query: upload, payload: emptyPayload, want: 204}
	_, _ = c.do(time.Now(), &c.q, nothing{})
}

// readBack compares an object that was uploaded in parts.
func (c *client) readBack(id uint64) error {
	m := c.ws.Multipart
	parts := partsMatcher{m: m, id: id, match: matcher{body: m.Bodies.NewBody()}}
	c.q = request{method: "GET", path: c.object(c.ws.Fresh, id), payload: emptyPayload, want: 200}
	n, err := c.do(time.Now(), &c.q, &parts)
	if want := int64(m.Parts) * int64(m.Bodies.Largest()); err == nil && n != want {
		err = badBody{fmt.Errorf("body has %d bytes of %d", n, want)}
	}
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	return nil
}

// partsMatcher checks a stream against all parts, in order.
type partsMatcher struct {
	m     *Multipart
	id    uint64
	part  int // begun; 0: none
	left  int // of it
	match matcher
}

func (p *partsMatcher) take(b []byte) error {
	for len(b) > 0 {
		if p.left == 0 {
			if p.part == p.m.Parts {
				return errors.New("body is longer than its parts")
			}
			p.part++
			p.match.body.Set(partNumber(p.id, p.part), 0)
			p.match.reset(false)
			p.left = p.match.body.Size()
		}
		n := min(len(b), p.left)
		if err := p.match.take(b[:n]); err != nil {
			return fmt.Errorf("part %d: %w", p.part, err)
		}
		p.left -= n
		b = b[n:]
	}
	return nil
}
