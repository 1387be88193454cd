package xk6

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"

	"github.com/cairnstore/cairn/engine/auth/sign"
	"github.com/cairnstore/cairn/harness/load"
)

// s3Options are what `new S3` takes.
type s3Options struct {
	Endpoint  string `json:"endpoint"` // http://host[:port] or https://host[:port]
	AccessKey string `json:"accessKey"`
	SecretKey string `json:"secretKey"`
	Region    string `json:"region"`  // us-east-1 if empty
	Timeout   int64  `json:"timeout"` // milliseconds of one request; 60000 if 0
	// CA and Insecure are a load.Trust's, of https.
	CA       string `json:"ca"`
	Insecure bool   `json:"insecure"`
}

// Bounds on what a server may make the client keep.
const (
	maxDocument = 16 << 20
	maxObject   = 1 << 30
)

// transports are shared by all VUs of a process that trust the same servers.
var transports struct {
	sync.Mutex
	by map[load.Trust]*http.Transport
}

// transportOf speaks HTTP/1.1 over TLS too: with HTTP/2 all VUs would share one
// connection.
func transportOf(trust load.Trust) (*http.Transport, error) {
	transports.Lock()
	defer transports.Unlock()
	if t := transports.by[trust]; t != nil {
		return t, nil
	}
	secure, err := trust.ClientConfig()
	if err != nil {
		return nil, err
	}
	t := &http.Transport{TLSClientConfig: secure, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute, DisableCompression: true}
	if transports.by == nil {
		transports.by = map[load.Trust]*http.Transport{}
	}
	transports.by[trust] = t
	return t, nil
}

// An S3 is a client in path style. A request that fails is no exception: its
// Answer says so, and the metrics count it.
type S3 struct {
	s3Options
	instance *instance
	signer   *sign.Signer
	host     *url.URL
	client   *http.Client
}

func newS3(i *instance, v sobek.Value) (*S3, error) {
	s := &S3{instance: i}
	if err := i.options(v, &s.s3Options); err != nil {
		return nil, fmt.Errorf("new S3: %w", err)
	}
	trust := load.Trust{CA: s.CA, Insecure: s.Insecure}
	if _, err := (load.Target{}).At(s.Endpoint, trust); err != nil {
		return nil, fmt.Errorf("new S3: endpoint %w", err)
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("new S3: endpoint: %w", err)
	}
	transport, err := transportOf(trust)
	if err != nil {
		return nil, fmt.Errorf("new S3: %w", err)
	}
	if s.AccessKey == "" || s.SecretKey == "" {
		return nil, errors.New("new S3: accessKey and secretKey are missing")
	}
	if s.Timeout < 0 || s.Timeout > int64(24*time.Hour/time.Millisecond) {
		return nil, errors.New("new S3: timeout: from 0 to a day, in milliseconds")
	}
	if s.Region == "" {
		s.Region = "us-east-1"
	}
	if s.Timeout == 0 {
		s.Timeout = 60_000
	}
	s.host, s.signer = u, sign.New(s.AccessKey, s.SecretKey, s.Region)
	s.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s, nil
}

// An Answer is what came of a request.
type Answer struct {
	OK      bool   `js:"ok"`
	Status  int    `js:"status"` // 0: there was no answer
	Code    string `js:"code"`   // S3's, or the client's: NoAnswer, WrongBytes
	Message string `js:"message"`
	ETag    string `js:"etag"`
	Size    int64  `js:"size"`
	// Body is an ArrayBuffer, of a get without Bodies.
	Body sobek.Value `js:"body"`
	// Keys, Truncated and Next are of a list.
	Keys      []string `js:"keys"`
	Truncated bool     `js:"truncated"`
	Next      string   `js:"next"`
}

// An exchange is one request and its answer's bytes.
type exchange struct {
	method, bucket, key string
	query               url.Values
	headers             map[string]string
	body                []byte
	most                int64 // of the answer's body
}

func (s *S3) do(x exchange) (Answer, []byte) {
	ctx, cancel := context.WithTimeout(s.instance.vu.Context(), time.Duration(s.Timeout)*time.Millisecond)
	defer cancel()
	path := "/" + x.bucket
	if x.key != "" {
		path += "/" + x.key
	}
	u := *s.host
	u.Path, u.RawQuery = path, strings.ReplaceAll(x.query.Encode(), "+", "%20")
	r, err := http.NewRequestWithContext(ctx, x.method, u.String(), bytes.NewReader(x.body))
	if err != nil {
		return Answer{Code: "NoAnswer", Message: err.Error()}, nil
	}
	for name, value := range x.headers {
		r.Header.Set(name, value)
	}
	s.signer.Sign(r, sign.HashOf(x.body), time.Now())
	res, err := s.client.Do(r)
	if err != nil {
		return noAnswer(err), nil
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, x.most+1))
	a := Answer{Status: res.StatusCode, ETag: res.Header.Get("ETag"), Size: int64(len(data))}
	switch {
	case err != nil:
		a.Code, a.Message = "NoAnswer", err.Error()
	case int64(len(data)) > x.most:
		a.Code, a.Message = "WrongBytes", fmt.Sprintf("the body is longer than %d bytes", x.most)
	case res.StatusCode/100 != 2:
		a.Code, a.Message = errorOf(data)
	default:
		a.OK = true
		if x.method == http.MethodHead { // its answer has no body, and says how long one would be
			a.Size = max(res.ContentLength, 0)
		}
	}
	return a, data
}

// noAnswer says what can be done about a certificate that is not trusted.
func noAnswer(err error) Answer {
	message := err.Error()
	if untrusted, _ := load.Untrusted(err); untrusted {
		message += ": new S3 takes ca, the PEM file of who signed it, or insecure: true"
	}
	return Answer{Code: "NoAnswer", Message: message}
}

// errorOf reads S3's error document.
func errorOf(data []byte) (code, message string) {
	var e struct{ Code, Message string }
	if xml.Unmarshal(data, &e) != nil || e.Code == "" {
		return "Unknown", ""
	}
	return e.Code, e.Message
}

// perform runs one operation, which may be several requests, and counts it.
func (s *S3) perform(op operation, run func() (a Answer, sent, received int64)) (Answer, error) {
	if err := s.instance.inVU(); err != nil {
		return Answer{}, fmt.Errorf("s3.%s: %w", op, err)
	}
	began := time.Now()
	a, sent, received := run()
	if s.instance.vu.Context().Err() != nil {
		return a, nil // k6 ends the iteration: no fault of the server
	}
	s.instance.countRequest(op, began, time.Now(), !a.OK, sent, received)
	if a.Body == nil {
		a.Body = sobek.Null()
	}
	return a, nil
}

// CreateBucket makes a bucket; one that is there is fine.
func (s *S3) CreateBucket(bucket string) (Answer, error) {
	return s.perform(s3Bucket, func() (Answer, int64, int64) {
		a, _ := s.do(exchange{method: "PUT", bucket: bucket, most: maxDocument})
		if a.Code == "BucketAlreadyOwnedByYou" || a.Code == "BucketAlreadyExists" {
			a.OK = true
		}
		return a, 0, 0
	})
}

// Put stores a string, an ArrayBuffer or what Bodies has for the key.
func (s *S3) Put(bucket, key string, body sobek.Value) (Answer, error) {
	data, err := bodyOf(key, body)
	if err != nil {
		return Answer{}, fmt.Errorf("s3.put: %w", err)
	}
	return s.perform(s3Put, func() (Answer, int64, int64) {
		a, _ := s.do(exchange{method: "PUT", bucket: bucket, key: key, body: data, most: maxDocument})
		a.Size = int64(len(data))
		return a, int64(len(data)), 0
	})
}

// Get reads an object. With Bodies it compares every byte, and the answer has no body.
func (s *S3) Get(bucket, key string, expect sobek.Value) (Answer, error) {
	bodies, err := bodiesOf(expect)
	if err != nil {
		return Answer{}, fmt.Errorf("s3.get: %w", err)
	}
	return s.perform(s3Get, func() (Answer, int64, int64) {
		a, data := s.do(exchange{method: "GET", bucket: bucket, key: key, most: maxObject})
		switch {
		case !a.OK:
		case bodies != nil:
			if err := bodies.check(key, data); err != nil {
				a.OK, a.Code, a.Message = false, "WrongBytes", err.Error()
			}
		default:
			rt := s.instance.vu.Runtime()
			a.Body = rt.ToValue(rt.NewArrayBuffer(data))
		}
		return a, 0, int64(len(data))
	})
}

// Head asks for an object's metadata.
func (s *S3) Head(bucket, key string) (Answer, error) {
	return s.perform(s3Head, func() (Answer, int64, int64) {
		a, _ := s.do(exchange{method: "HEAD", bucket: bucket, key: key, most: maxDocument})
		return a, 0, 0
	})
}

// Delete removes an object; one that is not there is fine.
func (s *S3) Delete(bucket, key string) (Answer, error) {
	return s.perform(s3Delete, func() (Answer, int64, int64) {
		a, _ := s.do(exchange{method: "DELETE", bucket: bucket, key: key, most: maxDocument})
		return a, 0, 0
	})
}

// listOptions are what list takes.
type listOptions struct {
	Prefix    string `json:"prefix"`
	After     string `json:"after"`     // keys greater than this one
	Next      string `json:"next"`      // the answer's, to go on
	Max       int    `json:"max"`       // 1000 if 0
	Delimiter string `json:"delimiter"` // keys behind it are left out
}

// List reads one page of keys (ListObjectsV2).
func (s *S3) List(bucket string, options sobek.Value) (Answer, error) {
	var o listOptions
	if err := s.instance.options(options, &o); err != nil {
		return Answer{}, fmt.Errorf("s3.list: %w", err)
	}
	return s.perform(s3List, func() (Answer, int64, int64) {
		q := url.Values{"list-type": {"2"}}
		for name, value := range map[string]string{"prefix": o.Prefix, "start-after": o.After, "continuation-token": o.Next, "delimiter": o.Delimiter} {
			if value != "" {
				q.Set(name, value)
			}
		}
		if o.Max > 0 {
			q.Set("max-keys", strconv.Itoa(o.Max))
		}
		a, data := s.do(exchange{method: "GET", bucket: bucket, query: q, most: maxDocument})
		if a.OK {
			a = pageOf(a, data)
		}
		return a, 0, int64(len(data))
	})
}

// pageOf reads a page of a listing.
func pageOf(a Answer, data []byte) Answer {
	var page struct {
		Contents              []struct{ Key string }
		IsTruncated           bool
		NextContinuationToken string
	}
	if err := xml.Unmarshal(data, &page); err != nil {
		a.OK, a.Code, a.Message = false, "WrongBytes", "list: "+err.Error()
		return a
	}
	for _, c := range page.Contents {
		a.Keys = append(a.Keys, c.Key)
	}
	a.Truncated, a.Next = page.IsTruncated, page.NextContinuationToken
	if !slices.IsSorted(a.Keys) {
		a.OK, a.Code, a.Message = false, "WrongBytes", "list: the keys are not in order"
	}
	return a
}

// Multipart uploads parts, strings or ArrayBuffers, as one object. What fails is
// aborted. Its duration is of all requests.
func (s *S3) Multipart(bucket, key string, parts sobek.Value) (Answer, error) {
	list, ok := export(parts).([]any)
	if !ok || len(list) == 0 || len(list) > 10_000 {
		return Answer{}, errors.New("s3.multipart: want an array of 1 to 10000 parts")
	}
	var bodies [][]byte
	for n, one := range list {
		data, err := common.ToBytes(one)
		if err != nil {
			return Answer{}, fmt.Errorf("s3.multipart: part %d: %w", n+1, err)
		}
		bodies = append(bodies, data)
	}
	return s.perform(s3Multipart, func() (Answer, int64, int64) { return s.multipart(bucket, key, bodies) })
}

func (s *S3) multipart(bucket, key string, parts [][]byte) (a Answer, sent, received int64) {
	a, data := s.do(exchange{method: "POST", bucket: bucket, key: key, query: url.Values{"uploads": {""}}, most: maxDocument})
	if !a.OK {
		return a, 0, 0
	}
	var begun struct {
		UploadID string `xml:"UploadId"`
	}
	if err := xml.Unmarshal(data, &begun); err != nil || begun.UploadID == "" {
		return Answer{Status: a.Status, Code: "WrongBytes", Message: "multipart: the answer names no upload"}, 0, 0
	}
	upload := url.Values{"uploadId": {begun.UploadID}}
	abort := func(a Answer) (Answer, int64, int64) {
		_, _ = s.do(exchange{method: "DELETE", bucket: bucket, key: key, query: upload, most: maxDocument})
		return a, sent, 0
	}
	type part struct {
		PartNumber int
		ETag       string
	}
	list := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUpload"`
		Part    []part
	}{}
	for n, body := range parts {
		a, _ := s.do(exchange{
			method: "PUT", bucket: bucket, key: key, body: body, most: maxDocument,
			query: url.Values{"uploadId": {begun.UploadID}, "partNumber": {strconv.Itoa(n + 1)}},
		})
		if !a.OK {
			return abort(a)
		}
		sent += int64(len(body))
		list.Part = append(list.Part, part{n + 1, a.ETag})
	}
	text, err := xml.Marshal(list)
	if err != nil {
		return abort(Answer{Code: "NoAnswer", Message: err.Error()})
	}
	a, data = s.do(exchange{method: "POST", bucket: bucket, key: key, query: upload, body: text, most: maxDocument})
	if !a.OK {
		return abort(a)
	}
	// An error may come in a 200 (S3 API Reference, CompleteMultipartUpload).
	var done struct {
		XMLName             xml.Name
		ETag, Code, Message string
	}
	if err := xml.Unmarshal(data, &done); err != nil || done.XMLName.Local == "Error" {
		a.OK, a.Code, a.Message = false, done.Code, done.Message
		return a, sent, 0
	}
	a.ETag, a.Size = done.ETag, sent
	return a, sent, 0
}

// Bodies are what objects hold, each by its key: the same bytes wherever they
// are made, so that what is read can be compared.
type Bodies struct {
	Size   int `js:"size"`
	bodies *load.Bodies
	body   *load.Body
}

func newBodies(i *instance, v sobek.Value) (*Bodies, error) {
	var o struct {
		Seed uint64 `json:"seed"`
		Size int    `json:"size"`
	}
	if err := i.options(v, &o); err != nil {
		return nil, fmt.Errorf("new Bodies: %w", err)
	}
	if o.Size < 1 || o.Size > maxValue {
		return nil, errors.New("new Bodies: size: want 1 to 67108864 bytes")
	}
	b := &Bodies{Size: o.Size, bodies: load.NewBodies(o.Seed, o.Size)}
	b.body = b.bodies.NewBody()
	return b, nil
}

// of is the body of a key.
func (b *Bodies) of(key string) []byte {
	h := fnv.New64a()
	_, _ = io.WriteString(h, key)
	b.body.Set(h.Sum64(), 0)
	return slices.Concat(b.body.Prefix, b.body.Tail)
}

func (b *Bodies) check(key string, data []byte) error {
	want := b.of(key)
	if len(data) != len(want) {
		return fmt.Errorf("body has %d bytes of %d", len(data), len(want))
	}
	if !bytes.Equal(data, want) {
		return fmt.Errorf("body has other bytes: MD5 %x where %x was written", md5.Sum(data), md5.Sum(want))
	}
	return nil
}

func bodyOf(key string, v sobek.Value) ([]byte, error) {
	if v == nil || sobek.IsUndefined(v) || sobek.IsNull(v) {
		return nil, errors.New("the body is missing")
	}
	if b, ok := export(v).(*Bodies); ok {
		return b.of(key), nil
	}
	return common.ToBytes(export(v))
}

func bodiesOf(v sobek.Value) (*Bodies, error) {
	if v == nil || sobek.IsUndefined(v) || sobek.IsNull(v) {
		return nil, nil
	}
	b, ok := export(v).(*Bodies)
	if !ok {
		return nil, errors.New("what it is compared with: want Bodies")
	}
	return b, nil
}
