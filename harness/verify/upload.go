package verify

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strconv"
)

// An Upload is a content that is sent in parts (S3's multipart upload). Nothing of it can be
// read before Complete.
type Upload struct {
	client  *Client
	key, id string
	content Content
	parts   [][]byte
	etags   []string
}

// Begin begins an upload of a content that has parts.
func (c *Client) Begin(ctx context.Context, key string, content Content) (*Upload, error) {
	text, _, err := c.do(ctx, ask{method: "POST", path: c.path(key), query: url.Values{"uploads": {""}}, header: map[string]string{labelHeader: content.label()}, want: 200})
	if err != nil {
		return nil, err
	}
	var answer struct{ UploadId string } //nolint:revive // S3's name
	if err := xml.Unmarshal(text, &answer); err != nil || answer.UploadId == "" {
		return nil, &CorruptError{fmt.Errorf("%s: an upload was begun and got no identity", key)}
	}
	parts := slices.Collect(slices.Chunk(content.Body(key), PartSize))
	return &Upload{client: c, key: key, id: answer.UploadId, content: content, parts: parts, etags: make([]string, len(parts))}, nil
}

// Part sends one part, from 1 on.
func (u *Upload) Part(ctx context.Context, number int) error {
	part := u.parts[number-1]
	query := url.Values{"uploadId": {u.id}, "partNumber": {strconv.Itoa(number)}}
	_, header, err := u.client.do(ctx, ask{method: "PUT", path: u.client.path(u.key), query: query, body: part, want: 200})
	if err != nil {
		return err
	}
	u.etags[number-1] = Content{}.etag(part)
	return checkETag(header, u.etags[number-1])
}

// Complete publishes the object. It may be repeated where no answer came, and publishes
// once.
func (u *Upload) Complete(ctx context.Context) error {
	type part struct {
		PartNumber int
		ETag       string
	}
	var list struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []part
	}
	for i, etag := range u.etags {
		list.Part = append(list.Part, part{i + 1, etag})
	}
	body, err := xml.Marshal(list)
	if err != nil {
		return err
	}
	text, _, err := u.client.do(ctx, ask{method: "POST", path: u.client.path(u.key), query: url.Values{"uploadId": {u.id}}, body: body, want: 200})
	if err != nil {
		return err
	}
	return u.checkResult(text)
}

// checkResult: a Complete can fail when its status was sent long ago.
func (u *Upload) checkResult(text []byte) error {
	var result struct {
		XMLName    xml.Name
		ETag, Code string
	}
	if err := xml.Unmarshal(text, &result); err != nil {
		return &CorruptError{fmt.Errorf("%s: complete: %w", u.key, err)}
	}
	if result.XMLName.Local == "Error" {
		return &StatusError{500, result.Code}
	}
	if got, want := unquoted(result.ETag), u.content.ETag(u.key); got != want {
		return &CorruptError{fmt.Errorf("%s: complete: the ETag %q, the bytes have %s", u.key, got, want)}
	}
	return nil
}
