package verify

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cairnstore/cairn/engine/auth/sign"
)

// A Client asks one bucket of an S3 server, over plain HTTP, and says of each
// answer what it leaves in doubt. Safe for concurrent use.
type Client struct {
	address, bucket string
	signer          *sign.Signer
	http            *http.Client
	now             func() time.Time
}

// ClientOptions say whom to ask and as whom.
type ClientOptions struct {
	Address        string // host:port
	Bucket         string
	Access, Secret string
	Region         string           // "": us-east-1
	Timeout        time.Duration    // of one request; 0: 10 s
	Now            func() time.Time // the clock that requests are signed by; nil: time.Now
	Connections    int              // kept open when idle; 0: 16
}

// NewClient returns a Client; Close it.
func NewClient(o ClientOptions) *Client {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Connections == 0 {
		o.Connections = 16
	}
	return &Client{
		address: o.Address, bucket: o.Bucket, now: o.Now, signer: sign.New(o.Access, o.Secret, o.Region),
		http: &http.Client{Timeout: o.Timeout, Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: o.Timeout}).DialContext,
			MaxIdleConnsPerHost: o.Connections, DisableCompression: true,
		}},
	}
}

// Close closes its idle connections; it can be used further.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A StatusError is an answer that is no success.
type StatusError struct {
	Status int
	Code   string // S3's, if the body had one
}

func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("status %d %s", e.Status, e.Code))
}

// A CorruptError is an answer whose bytes nobody sent.
type CorruptError struct{ Err error }

func (e *CorruptError) Error() string { return "corrupt: " + e.Err.Error() }
func (e *CorruptError) Unwrap() error { return e.Err }

// OutcomeOf says what an error leaves of the operation. 5xx says nothing of
// whether a write was done; neither does a connection that broke.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OK
	}
	if status, ok := errors.AsType[*StatusError](err); ok && status.Status < 500 {
		return Refused
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return Refused
	}
	return Doubt
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 256 << 20

// An ask is one request, and the status of its success.
type ask struct {
	method, path string // escaped
	query        url.Values
	header       map[string]string
	body         []byte
	want         int
}

// do signs a request and sends it.
func (c *Client) do(ctx context.Context, a ask) ([]byte, http.Header, error) {
	target := "http://" + c.address + a.path
	if len(a.query) > 0 {
		target += "?" + a.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, a.method, target, bytes.NewReader(a.body))
	if err != nil {
		return nil, nil, err
	}
	for name, value := range a.header {
		r.Header.Set(name, value)
	}
	c.signer.Sign(r, sign.HashOf(a.body), c.now())
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if answer.StatusCode != a.want {
		var e struct{ Code string }
		_ = xml.Unmarshal(text, &e)
		return nil, answer.Header, &StatusError{answer.StatusCode, e.Code}
	}
	return text, answer.Header, err
}

func (c *Client) path(key string) string {
	return "/" + c.bucket + "/" + (&url.URL{Path: key}).EscapedPath()
}

// CreateBucket makes the bucket; one that is there already is fine.
func (c *Client) CreateBucket(ctx context.Context) error {
	_, _, err := c.do(ctx, ask{method: "PUT", path: "/" + c.bucket, want: 200})
	if status, ok := errors.AsType[*StatusError](err); ok && status.Status == 409 {
		return nil
	}
	return err
}

// labelHeader is the user metadata that says which content an object has, so that metadata
// and bytes of two puts are told apart, and a part of the bytes is enough to know it.
const labelHeader = "X-Amz-Meta-Content"

// Put puts a content under a key, at once.
func (c *Client) Put(ctx context.Context, key string, content Content) error {
	body := content.Body(key)
	_, header, err := c.do(ctx, ask{method: "PUT", path: c.path(key), header: map[string]string{labelHeader: content.label()}, body: body, want: 200})
	if err != nil {
		return err
	}
	return checkETag(header, content.etag(body))
}

func unquoted(etag string) string { return strings.Trim(etag, `"`) }

// checkETag: the answer has the ETag that S3 gives to what was sent.
func checkETag(header http.Header, want string) error {
	if got := unquoted(header.Get("ETag")); got != want {
		return &CorruptError{fmt.Errorf("the ETag %q, the bytes have %s", got, want)}
	}
	return nil
}

// Delete removes a key.
func (c *Client) Delete(ctx context.Context, key string) error {
	_, _, err := c.do(ctx, ask{method: "DELETE", path: c.path(key), want: 204})
	return err
}

// Get reads a key; nothing is no error. Wrong bytes are a CorruptError.
func (c *Client) Get(ctx context.Context, key string) (Content, error) {
	body, header, err := c.do(ctx, ask{method: "GET", path: c.path(key), want: 200})
	if absent(err) {
		return Content{}, nil
	}
	if err != nil {
		return Content{}, err
	}
	found, err := ReadContent(key, body)
	if err != nil {
		return Content{}, &CorruptError{err}
	}
	labelled, err := readLabel(header.Get(labelHeader))
	if err != nil {
		return Content{}, &CorruptError{fmt.Errorf("%s: %w", key, err)}
	}
	found.Parts = labelled.Parts
	if found != labelled {
		return Content{}, &CorruptError{fmt.Errorf("%s: the bytes of put %d with the metadata of put %d", key, found.ID, labelled.ID)}
	}
	return found, checkETag(header, found.etag(body))
}

func absent(err error) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.Status == 404 && status.Code == "NoSuchKey"
}

// Head returns a key's headers.
func (c *Client) Head(ctx context.Context, key string) (http.Header, error) {
	_, header, err := c.do(ctx, ask{method: "HEAD", path: c.path(key), want: 200})
	return header, err
}

// Conditional reads a key under one condition (If-Modified-Since and its like,
// RFC 9110, section 13.1) and returns the status.
func (c *Client) Conditional(ctx context.Context, key, header, value string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+c.address+c.path(key), nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set(header, value)
	c.signer.Sign(r, sign.HashOf(nil), c.now())
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// pageSize is small, so that a listing has several pages.
const pageSize = "50"

// List lists all keys under a prefix, page by page (ListObjectsV2).
func (c *Client) List(ctx context.Context, prefix string) (map[string]Entry, error) {
	all := map[string]Entry{}
	query := url.Values{"list-type": {"2"}, "max-keys": {pageSize}, "prefix": {prefix}}
	for {
		text, _, err := c.do(ctx, ask{method: "GET", path: "/" + c.bucket, query: query, want: 200})
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		page, err := parsePage(text)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if _, twice := all[o.Key]; twice {
				return nil, &CorruptError{fmt.Errorf("list: %s comes twice", o.Key)}
			}
			all[o.Key] = Entry{o.Size, unquoted(o.ETag)}
		}
		if !page.IsTruncated {
			return all, nil
		}
		query.Set("continuation-token", page.NextContinuationToken)
	}
}

type page struct {
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct {
		Key, ETag string
		Size      int
	}
}

func parsePage(text []byte) (*page, error) {
	var p page
	if err := xml.Unmarshal(text, &p); err != nil {
		return nil, &CorruptError{fmt.Errorf("list: %w", err)}
	}
	if p.IsTruncated && (p.NextContinuationToken == "" || len(p.Contents) == 0) {
		return nil, &CorruptError{errors.New("list: a truncated page that leads nowhere")}
	}
	return &p, nil
}

// CodeOf is the S3 error code that an error came with, "" for none.
func CodeOf(err error) string {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code
	}
	return ""
}
