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

// do sends one signed request. The path is in its escaped form.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte, want int) ([]byte, http.Header, error) {
	target := "http://" + c.address + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	c.signer.Sign(r, sign.HashOf(body), c.now())
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if answer.StatusCode != want {
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
	_, _, err := c.do(ctx, "PUT", "/"+c.bucket, nil, nil, 200)
	if status, ok := errors.AsType[*StatusError](err); ok && status.Status == 409 {
		return nil
	}
	return err
}

// Put puts a content under a key.
func (c *Client) Put(ctx context.Context, key string, content Content) error {
	_, _, err := c.do(ctx, "PUT", c.path(key), nil, content.Body(key), 200)
	return err
}

// Delete removes a key.
func (c *Client) Delete(ctx context.Context, key string) error {
	_, _, err := c.do(ctx, "DELETE", c.path(key), nil, nil, 204)
	return err
}

// Get reads a key; nothing is no error. Wrong bytes are a CorruptError.
func (c *Client) Get(ctx context.Context, key string) (Content, error) {
	body, _, err := c.do(ctx, "GET", c.path(key), nil, nil, 200)
	if status, ok := errors.AsType[*StatusError](err); ok && status.Status == 404 && status.Code == "NoSuchKey" {
		return Content{}, nil
	}
	if err != nil {
		return Content{}, err
	}
	found, err := ReadContent(key, body)
	if err != nil {
		return Content{}, &CorruptError{err}
	}
	return found, nil
}

// Head returns a key's headers.
func (c *Client) Head(ctx context.Context, key string) (http.Header, error) {
	_, header, err := c.do(ctx, "HEAD", c.path(key), nil, nil, 200)
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
		text, _, err := c.do(ctx, "GET", "/"+c.bucket, query, nil, 200)
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
			all[o.Key] = Entry{o.Size, strings.Trim(o.ETag, `"`)}
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
