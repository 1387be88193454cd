package auth

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv2"
	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/internal/httpdate"
)

// Signature Version 2, which older clients and many presigning tools still use.
// It covers method, path, date, Content-MD5, Content-Type and every header that
// begins with x-amz-; not the host, other headers or the payload. Of the query
// S3 covers a list of sub-resources; here everything is covered but what
// unsigned2 names, so that nobody can turn a signed request into another.

const (
	query2AccessKey = "AWSAccessKeyId"
	query2Expires   = "Expires"
	query2Signature = "Signature"
)

// subresources2 are the parameters that clients sign, as S3 and its SDKs list them.
var subresources2 = func() map[string]bool {
	m := make(map[string]bool)
	for _, name := range strings.Fields(`accelerate acl analytics compose cors defaultObjectAcl delete encryption intelligent-tiering inventory legal-hold
		lifecycle location logging metrics notification object-lock ownershipControls partNumber policy policyStatus publicAccessBlock replication
		requestPayment restore retention select select-type storageClass tagging torrent uploadId uploads versionId versioning versions website
		response-cache-control response-content-disposition response-content-encoding response-content-language response-content-type response-expires`) {
		m[name] = true
	}
	return m
}()

// unsigned2 are parameters that only choose what a listing shows, or nothing.
var unsigned2 = map[string]bool{
	query2AccessKey: true, query2Expires: true, query2Signature: true,
	"list-type": true, "prefix": true, "delimiter": true, "marker": true, "max-keys": true, "encoding-type": true,
	"start-after": true, "continuation-token": true, "fetch-owner": true, "key-marker": true, "version-id-marker": true,
	"upload-id-marker": true, "max-uploads": true, "max-parts": true, "part-number-marker": true,
	"max-buckets": true, "bucket-region": true, "x-id": true,
	"content-type": true, "content-md5": true, // boto3 notes here what the headers must be
}

// presigned2 reports whether a query that claims an authorization claims this one.
func (w *work) presigned2() bool {
	for _, name := range [...]string{queryAlgorithm, querySignature, queryCredential} {
		if _, n := w.query.Find(name); n > 0 {
			return false
		}
	}
	return true
}

func (v *Verifier) verifyHeader2(w *work, r *http.Request, value string) (*Request, error) {
	i := strings.LastIndexByte(value, ':')
	if i < 1 || i == len(value)-1 {
		return nil, refuse(MalformedAuthorization, "the Authorization header must be AWS ACCESS-KEY:SIGNATURE")
	}
	date, sent, flaw := requestDate2(r)
	if flaw != nil {
		return nil, flaw
	}
	if age := v.o.Now().Sub(sent); age > v.o.Skew || age < -v.o.Skew {
		return nil, refuse(RequestTimeTooSkewed, "the request's time and the server's are too far apart")
	}
	return v.verify2(w, r, value[:i], value[i+1:], date, false)
}

// zonedDate is time.RFC1123Z, also with a day of one digit.
const zonedDate = "Mon, 2 Jan 2006 15:04:05 -0700"

// requestDate2 returns the line that is signed, and the time.
func requestDate2(r *http.Request) (string, time.Time, *Error) {
	line, values := "", r.Header["X-Amz-Date"]
	if len(values) == 0 {
		if values = r.Header["Date"]; len(values) > 0 {
			line = values[0]
		}
	}
	if len(values) == 1 {
		if t, ok := sigv4.ParseDateTime(values[0]); ok {
			return line, t, nil
		}
		if t, err := httpdate.Parse(values[0]); err == nil {
			return line, t, nil
		}
		if t, err := time.Parse(zonedDate, values[0]); err == nil {
			return line, t, nil
		}
	}
	return "", time.Time{}, refuse(AccessDenied, "a signed request needs a valid Date or x-amz-date, once")
}

func (v *Verifier) verifyPresigned2(w *work, r *http.Request) (*Request, error) {
	var text [3]string
	for i, name := range [...]string{query2AccessKey, query2Expires, query2Signature} {
		value, n := w.query.Find(name)
		if n != 1 || len(value) == 0 {
			return nil, refuse(AccessDenied, "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters, each once")
		}
		text[i] = sigv4.Unescape(value)
	}
	expires, err := strconv.ParseInt(text[1], 10, 64)
	if err != nil || expires < 0 {
		return nil, refuse(AccessDenied, "Expires must be a time in seconds since 1970")
	}
	if v.o.Now().Unix() > expires {
		return nil, refuse(RequestExpired, "Request has expired")
	}
	// A plus sign that was not escaped: base64 has no spaces.
	signature := strings.ReplaceAll(text[2], " ", "+")
	return v.verify2(w, r, text[0], signature, text[1], true)
}

// verify2 is the last rung of both.
func (v *Verifier) verify2(w *work, r *http.Request, accessKey, signature, date string, presigned bool) (*Request, error) {
	p := payload{length: r.ContentLength}
	if _, ok := r.Header["X-Amz-Content-Sha256"]; ok {
		var flaw *Error
		if p, flaw = headerPayload(r); flaw != nil {
			return nil, flaw
		}
		if p.kind == chunkedSigned {
			return nil, refuse(UnsupportedSignature, "signed chunks need AWS4-HMAC-SHA256")
		}
	}
	if !w.unmistakable2(presigned) {
		return nil, &Error{Kind: SignatureMismatch, AccessKey: accessKey, Message: "the query has a parameter that Version 2 signs in the same way as several others"}
	}
	t := sigv2.Text{
		Method: r.Method, ContentMD5: strings.Join(r.Header["Content-Md5"], ","), ContentType: strings.Join(r.Header["Content-Type"], ","),
		Date: date, Amz: w.amz2(r, presigned), Sub: w.sub2(presigned),
	}
	if v.o.HostBucket != nil {
		t.Bucket = v.o.HostBucket(r.Host)
	}
	for _, h := range t.Amz {
		if h.Name == "x-amz-security-token" && h.Value != "" {
			return nil, &Error{Kind: InvalidToken, AccessKey: accessKey, Message: "the request has a session token, and this server has issued none"}
		}
	}
	secret, ok := v.o.Secret(accessKey)
	if !ok {
		return nil, &Error{Kind: InvalidAccessKey, AccessKey: accessKey, Message: "the access key does not exist"}
	}
	if !w.signs2(&t, r, secret, signature) {
		return nil, &Error{
			Kind:         SignatureMismatch,
			Message:      "the signature is not the one that this request and the access key's secret give",
			StringToSign: string(w.text),
			AccessKey:    accessKey,
		}
	}
	return newRequest(r, &signingKey{accessKey: strings.Clone(accessKey)}, p, "", &authorization{})
}

// signs2 tries each form of the path, and leaves the text of the path as sent
// in w. boto3 signs /bucket/ where it sends /bucket, which mean the same.
func (w *work) signs2(t *sigv2.Text, r *http.Request, secret, signature string) bool {
	signs := func() bool {
		w.text = t.Append(w.text[:0])
		return sigv2.Matches(sigv2.Sign(secret, w.text), signature)
	}
	for _, form := range [...]pathForm{slashesPlain, escapedOnce, asSent} {
		w.canonical = appendPath(w.canonical[:0], r.URL, form)
		t.Path = string(w.canonical)
		if t.Bucket == "" && strings.LastIndexByte(t.Path, '/') == 0 && t.Path != "/" {
			t.Path += "/"
			if signs() {
				return true
			}
			t.Path = string(w.canonical)
		}
		if signs() {
			return true
		}
	}
	return false
}

// amz2 returns the headers that begin with x-amz-. In a presigned URL they may
// stand in the query instead.
func (w *work) amz2(r *http.Request, presigned bool) (out []sigv2.Pair) {
	for name, values := range r.Header {
		if mustSign(name) {
			out = append(out, sigv2.Pair{Name: strings.ToLower(name), Value: strings.Join(values, ",")})
		}
	}
	if presigned {
		for name, value := range w.query.All() {
			if mustSign(name) {
				out = append(out, sigv2.Pair{Name: strings.ToLower(name), Value: strings.TrimSpace(value)})
			}
		}
	}
	slices.SortFunc(out, func(a, b sigv2.Pair) int { return strings.Compare(a.Name+"\n"+a.Value, b.Name+"\n"+b.Value) })
	return slices.Compact(out) // some clients send a header beside its parameter
}

// sub2 returns the parameters that are signed as they are.
func (w *work) sub2(presigned bool) (out []sigv2.Pair) {
	for name, value := range w.query.All() {
		if unsigned2[name] || presigned && mustSign(name) {
			continue
		}
		out = append(out, sigv2.Pair{Name: name, Value: value})
	}
	return out
}

// unmistakable2 reports whether the query reads in one way alone where its names
// and values stand in the text unescaped, as Version 2 has them there. Otherwise
// ?partNumber=1&uploadId=X would sign ?partNumber%3D1%26uploadId=X too, which names
// no part and would put the object.
func (w *work) unmistakable2(presigned bool) bool {
	for name, value := range w.query.All() {
		if !token2(name) {
			return false
		}
		if presigned && mustSign(name) {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return false // a line of its own
			}
			continue
		}
		if unsigned2[name] {
			continue
		}
		for _, piece := range strings.Split(value, "&")[1:] {
			if next, _, _ := strings.Cut(piece, "="); subresources2[next] || mustSign(next) {
				return false
			}
		}
	}
	return true
}

// token2 reports whether a parameter's name has letters, digits, '-', '_' and '.' alone.
func token2(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return name != ""
}

// verifyPost2 checks the signature over a form's policy.
func (v *Verifier) verifyPost2(fields map[string]string, bucket string) (*Post, error) {
	accessKey, policy := fields["awsaccesskeyid"], fields["policy"]
	if fields["x-amz-security-token"] != "" {
		return nil, &Error{Kind: InvalidToken, AccessKey: accessKey, Message: "the form has a session token, and this server has issued none"}
	}
	secret, ok := v.o.Secret(accessKey)
	if !ok {
		return nil, &Error{Kind: InvalidAccessKey, AccessKey: accessKey, Message: "the access key does not exist"}
	}
	if !sigv2.Matches(sigv2.Sign(secret, []byte(policy)), fields["signature"]) {
		return nil, &Error{
			Kind:         SignatureMismatch,
			Message:      "the signature is not the one that this policy and the access key's secret give",
			StringToSign: policy,
			AccessKey:    accessKey,
		}
	}
	return v.checkPolicy(policy, fields, bucket, accessKey)
}
