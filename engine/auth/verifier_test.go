package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

var exampleSigner = sign.New(exampleKey, exampleSecret, exampleRegion)

// outcome verifies r and reads its body: the error of either, and the bytes.
func outcome(v *Verifier, r *http.Request) (string, error) {
	got, err := v.Verify(r)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(got.Body)
	return string(body), err
}

func requireKind(t *testing.T, want Kind, err error, args ...any) *Error {
	t.Helper()
	require.Error(t, err, args...)
	got, ok := KindOf(err)
	require.True(t, ok, "%v is not of this package", err)
	require.Equal(t, want, got, "%v %v", err, args)
	var e *Error
	require.True(t, errors.As(err, &e))
	require.NotContains(t, e.Message+e.CanonicalRequest+e.StringToSign, exampleSecret)
	return e
}

func signedPut(body string) *http.Request {
	r := exampleRequest("PUT", "/bucket/a//b/../c%20d?partNumber=1&uploadId=x%2Fy", body, "Content-Type", "text/plain",
		"X-Amz-Meta-One", "1", "X-Amz-Storage-Class", "STANDARD", "Range", "bytes=0-9", "User-Agent", "test")
	exampleSigner.Sign(r, sign.HashOf([]byte(body)), exampleTime)
	return r
}

func TestEveryPartIsCovered(t *testing.T) {
	v := verifierAt(t, exampleTime)
	const body = "some bytes that matter"
	got, err := outcome(v, signedPut(body))
	require.NoError(t, err)
	require.Equal(t, body, got)

	for name, c := range map[string]struct {
		change func(*http.Request)
		want   Kind
	}{
		"method":                {func(r *http.Request) { r.Method = "POST" }, SignatureMismatch},
		"host":                  {func(r *http.Request) { r.Host = "other" }, SignatureMismatch},
		"no host":               {func(r *http.Request) { r.Host = "" }, SignatureMismatch},
		"path":                  {func(r *http.Request) { r.URL.Path += "x" }, SignatureMismatch},
		"path cleaned":          {func(r *http.Request) { r.URL.Path = "/bucket/a/c d" }, SignatureMismatch},
		"query value":           {func(r *http.Request) { r.URL.RawQuery = "partNumber=2&uploadId=x%2Fy" }, SignatureMismatch},
		"query added":           {func(r *http.Request) { r.URL.RawQuery += "&acl" }, SignatureMismatch},
		"query removed":         {func(r *http.Request) { r.URL.RawQuery = "partNumber=1" }, SignatureMismatch},
		"content type":          {func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }, SignatureMismatch},
		"content type removed":  {func(r *http.Request) { r.Header.Del("Content-Type") }, SignatureMismatch},
		"content type repeated": {func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") }, SignatureMismatch},
		"range":                 {func(r *http.Request) { r.Header.Set("Range", "bytes=0-8") }, SignatureMismatch},
		"metadata":              {func(r *http.Request) { r.Header.Set("X-Amz-Meta-One", "2") }, SignatureMismatch},
		"metadata removed":      {func(r *http.Request) { r.Header.Del("X-Amz-Meta-One") }, SignatureMismatch},
		"metadata added":        {func(r *http.Request) { r.Header.Set("X-Amz-Meta-Two", "2") }, AccessDenied},
		"metadata swapped":      {func(r *http.Request) { r.Header.Del("X-Amz-Meta-One"); r.Header.Set("X-Amz-Acl", "public-read") }, AccessDenied},
		"odd case":              {func(r *http.Request) { r.Header["x-amz-acl"] = []string{"public-read"} }, AccessDenied},
		"date":                  {func(r *http.Request) { r.Header.Set("X-Amz-Date", "20130524T000001Z") }, SignatureMismatch},
		"payload hash":          {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", sign.HashOf([]byte("x"))) }, SignatureMismatch},
		"payload said unsigned": {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }, SignatureMismatch},
		"no payload hash":       {func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }, MissingContentSHA256},
		"two payload hashes":    {func(r *http.Request) { r.Header.Add("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }, InvalidContentSHA256},
		"bad payload hash":      {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "abc") }, InvalidContentSHA256},
		"payload hash not hex":  {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", strings.Repeat("g", 64)) }, InvalidContentSHA256},
		"SigV4A": {func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
		}, UnsupportedSignature},
		"body emptied": {func(r *http.Request) { r.ContentLength, r.Body = 0, http.NoBody }, PayloadMismatch},
		"body cut":     {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(body[:5])) }, IncompleteBody},
		"session token": {func(r *http.Request) {
			r.Header.Set("X-Amz-Security-Token", "t")
			exampleSigner.Sign(r, sign.HashOf([]byte(body)), exampleTime)
		}, InvalidToken},
		"unknown key": {func(r *http.Request) {
			sign.New("NOBODY", exampleSecret, exampleRegion).Sign(r, sign.HashOf([]byte(body)), exampleTime)
		}, InvalidAccessKey},
		"wrong secret": {func(r *http.Request) {
			sign.New(exampleKey, "wrong", exampleRegion).Sign(r, sign.HashOf([]byte(body)), exampleTime)
		}, SignatureMismatch},
		"wrong region": {func(r *http.Request) {
			sign.New(exampleKey, exampleSecret, "eu-west-1").Sign(r, sign.HashOf([]byte(body)), exampleTime)
		}, MalformedAuthorization},
		"long region": {func(r *http.Request) {
			sign.New(exampleKey, exampleSecret, strings.Repeat("r", maxRegion+1)).Sign(r, sign.HashOf([]byte(body)), exampleTime)
		}, MalformedAuthorization},
		"two authorizations":     {func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, MalformedAuthorization},
		"header and query":       {func(r *http.Request) { r.URL.RawQuery += "&X-Amz-Signature=" + strings.Repeat("0", 64) }, MalformedAuthorization},
		"header and query, %":    {func(r *http.Request) { r.URL.RawQuery += "&X%2DAmz-Credential=x" }, MalformedAuthorization},
		"no date":                {func(r *http.Request) { r.Header.Del("X-Amz-Date") }, AccessDenied},
		"two dates":              {func(r *http.Request) { r.Header.Add("X-Amz-Date", exampleDate) }, AccessDenied},
		"unreadable date":        {func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }, AccessDenied},
		"date of another day":    {func(r *http.Request) { r.Header.Set("X-Amz-Date", "20130523T235959Z") }, MalformedAuthorization},
		"unsigned header is not": {func(r *http.Request) { r.Header.Set("User-Agent", "changed") }, 255},
		"CDN header is not":      {func(r *http.Request) { r.Header.Set("X-Amz-Cf-Id", "added") }, 255},
		"a tab for a space": {func(r *http.Request) {
			r.Header.Set("X-Amz-Meta-One", "a b")
			exampleSigner.Sign(r, sign.HashOf([]byte(body)), exampleTime)
			r.Header.Set("X-Amz-Meta-One", "a\t\u202fb")
		}, 255},
		"a tab for a space, and an unescaped path": {func(r *http.Request) {
			r.Header.Set("X-Amz-Meta-One", "a b")
			exampleSigner.Sign(r, sign.HashOf([]byte(body)), exampleTime)
			r.Header.Set("X-Amz-Meta-One", "a\tb")
			r.URL.RawPath = "/bucket/a//b/../c%20%64"
		}, 255},
		"a tab for a space where it is acted on": {func(r *http.Request) {
			r.Header.Set("X-Amz-Copy-Source", "b/a c")
			exampleSigner.Sign(r, sign.HashOf([]byte(body)), exampleTime)
			r.Header.Set("X-Amz-Copy-Source", "b/a\u00a0c")
		}, SignatureMismatch},
		"a tab for nothing": {func(r *http.Request) {
			r.Header.Set("X-Amz-Meta-One", "ab")
			exampleSigner.Sign(r, sign.HashOf([]byte(body)), exampleTime)
			r.Header.Set("X-Amz-Meta-One", "a\tb")
		}, SignatureMismatch},
		"unescaped path is not": {func(r *http.Request) { r.URL.RawPath = "/bucket/a//b/../c%20%64" }, 255},
	} {
		t.Run(name, func(t *testing.T) {
			r := signedPut(body)
			c.change(r)
			got, err := outcome(v, r)
			if c.want == 255 {
				require.NoError(t, err)
				require.Equal(t, body, got)
				return
			}
			requireKind(t, c.want, err)
		})
	}
	for i := range body {
		for _, known := range []bool{true, false} {
			r := signedPut(body)
			if !known {
				r.ContentLength = -1
			}
			r.Body = io.NopCloser(strings.NewReader(body[:i] + string(body[i]^1) + body[i+1:]))
			_, err := outcome(v, r)
			requireKind(t, PayloadMismatch, err, i)
		}
	}
}

func TestEverySignatureDigit(t *testing.T) {
	v := verifierAt(t, exampleTime)
	whole := signedPut("x").Header.Get("Authorization")
	at := strings.Index(whole, "Signature=") + len("Signature=")
	for i := at; i < len(whole); i++ {
		r := signedPut("x")
		digit := "0"
		if whole[i] == '0' {
			digit = "1"
		}
		r.Header.Set("Authorization", whole[:i]+digit+whole[i+1:])
		_, err := outcome(v, r)
		e := requireKind(t, SignatureMismatch, err, i)
		require.Equal(t, exampleKey, e.AccessKey)
		require.Contains(t, e.CanonicalRequest, "x-amz-meta-one:1\n")
		require.Contains(t, e.StringToSign, "20130524/us-east-1/s3/aws4_request\n")
	}
	upper := signedPut("x")
	upper.Header.Set("Authorization", whole[:at]+strings.ToUpper(whole[at:]))
	_, err := outcome(v, upper)
	requireKind(t, SignatureMismatch, err)
}

func TestAuthorizationHeader(t *testing.T) {
	v := verifierAt(t, exampleTime)
	good := signedPut("x").Header.Get("Authorization")
	credential := "Credential=" + exampleKey + "/20130524/us-east-1/s3/aws4_request"
	signature := "Signature=" + strings.Repeat("0", 64)
	for header, want := range map[string]Kind{
		"":                            MalformedAuthorization,
		"AWS4-HMAC-SHA256":            MalformedAuthorization,
		"AWS4-HMAC-SHA256 ":           MalformedAuthorization,
		"AWS4-HMAC-SHA256 Credential": MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=host":                                                   MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + "," + signature:                                                         MalformedAuthorization,
		"AWS4-HMAC-SHA256 SignedHeaders=host," + signature:                                                         MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=host,Signature=00":                                      MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=host," + signature + "," + signature:                    MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + "," + credential + ",SignedHeaders=host," + signature:                   MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=host,Extra=1," + signature:                              MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=," + signature:                                          MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=host;host," + signature:                                 MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=x-amz-date;host," + signature:                           MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=Host," + signature:                                      MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=host;," + signature:                                     MalformedAuthorization,
		"AWS4-HMAC-SHA256 " + credential + ",SignedHeaders=ho st," + signature:                                     MalformedAuthorization,
		"AWS4-HMAC-SHA256 Credential=20130524/us-east-1/s3/aws4_request,SignedHeaders=host," + signature:           MalformedAuthorization,
		"AWS4-HMAC-SHA256 Credential=/20130524/us-east-1/s3/aws4_request,SignedHeaders=host," + signature:          MalformedAuthorization,
		"AWS4-HMAC-SHA256 Credential=K/20130524/us-east-1/ec2/aws4_request,SignedHeaders=host," + signature:        MalformedAuthorization,
		"AWS4-HMAC-SHA256 Credential=K/20130524/us-east-1/s3/aws4,SignedHeaders=host," + signature:                 MalformedAuthorization,
		"AWS4-HMAC-SHA256 Credential=K/20130525/us-east-1/s3/aws4_request,SignedHeaders=host," + signature:         MalformedAuthorization,
		"AWS4-HMAC-SHA256 Credential=K/x/20130524/us-east-1/s3/aws4_request,SignedHeaders=x-amz-date," + signature: AccessDenied, // host is not signed
		"AWS4-ECDSA-P256-SHA256 " + credential:                                                                     UnsupportedSignature,
		"Basic Zm9vOmJhcg==":                                                                                       UnsupportedSignature,
		"Bearer x":                                                                                                 UnsupportedSignature,
		"AWS4-HMAC-SHA2567 " + credential:                                                                          UnsupportedSignature,
	} {
		r := signedPut("x")
		r.Header["Authorization"] = []string{header}
		_, err := v.Verify(r)
		requireKind(t, want, err, header)
	}
	for _, same := range []string{
		strings.ReplaceAll(good, ", ", ","),
		strings.ReplaceAll(good, ", ", " ,   "),
		strings.Replace(good, " Credential", "   Credential", 1),
	} {
		r := signedPut("x")
		r.Header.Set("Authorization", same)
		_, err := v.Verify(r)
		require.NoError(t, err, same)
	}
}

func TestSkew(t *testing.T) {
	for _, c := range []struct {
		off  time.Duration
		want Kind
	}{
		{0, 255}, {15 * time.Minute, 255}, {-15 * time.Minute, 255},
		{15*time.Minute + time.Second, RequestTimeTooSkewed}, {-15*time.Minute - time.Second, RequestTimeTooSkewed},
		{365 * 24 * time.Hour, RequestTimeTooSkewed},
	} {
		_, err := verifierAt(t, exampleTime.Add(c.off)).Verify(signedPut("x"))
		if c.want == 255 {
			require.NoError(t, err, c.off)
		} else {
			requireKind(t, c.want, err, c.off)
		}
	}
}

func TestDateHeaderInsteadOfXAmzDate(t *testing.T) {
	for _, date := range []string{"Fri, 24 May 2013 00:00:00 GMT", exampleDate} {
		r := exampleRequest("GET", "/b/k", "", "Date", date, "x-amz-content-sha256", sigv4.EmptySHA256)
		text := "GET\n/b/k\n\ndate:" + date + "\nhost:" + exampleHost + "\nx-amz-content-sha256:" + sigv4.EmptySHA256 +
			"\n\ndate;host;x-amz-content-sha256\n" + sigv4.EmptySHA256
		h := sigv4.NewHasher()
		toSign := sigv4.AppendStringToSign(nil, exampleDate, "20130524/us-east-1/s3/aws4_request", h.SHA256([]byte(text)))
		signature := string(h.Sign(sigv4.NewKey(exampleSecret, "20130524", exampleRegion), toSign))
		r.Header.Set("Authorization", authorizationFor("date;host;x-amz-content-sha256", signature))
		_, err := verifierAt(t, exampleTime).Verify(r)
		require.NoError(t, err, date)
	}
}

// TestHeadersThatGoKeepsApart: they are not in Request.Header when net/http has read them.
func TestHeadersThatGoKeepsApart(t *testing.T) {
	r := exampleRequest("PUT", "/b/k", "abc", "x-amz-date", exampleDate, "x-amz-content-sha256", "UNSIGNED-PAYLOAD",
		"Expect", "100-continue", "Accept-Encoding", "gzip,  deflate", "User-Agent", "x")
	r.TransferEncoding = []string{"chunked"}
	const names = "accept-encoding;content-length;expect;host;transfer-encoding;user-agent;x-amz-content-sha256;x-amz-date"
	text := "PUT\n/b/k\n\naccept-encoding:gzip, deflate\ncontent-length:3\nexpect:100-continue\nhost:" + exampleHost +
		"\ntransfer-encoding:chunked\nuser-agent:x\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:" + exampleDate +
		"\n\n" + names + "\nUNSIGNED-PAYLOAD"
	h := sigv4.NewHasher()
	toSign := sigv4.AppendStringToSign(nil, exampleDate, "20130524/us-east-1/s3/aws4_request", h.SHA256([]byte(text)))
	signature := string(h.Sign(sigv4.NewKey(exampleSecret, "20130524", exampleRegion), toSign))
	r.Header.Set("Authorization", authorizationFor(names, signature))
	v := verifierAt(t, exampleTime)
	got, err := v.Verify(r)
	require.NoError(t, err)
	require.False(t, got.SignedPayload)
	require.EqualValues(t, 3, got.Length)
	r.ContentLength = 4
	_, err = v.Verify(r)
	requireKind(t, SignatureMismatch, err)
}

func presigned(change func(url.Values)) *http.Request {
	r := exampleRequest("GET", "/bucket/key?versionId=7", "")
	r.URL = exampleSigner.Presign(r, time.Hour, exampleTime)
	if change != nil {
		q := r.URL.Query()
		change(q)
		r.URL.RawQuery = q.Encode()
	}
	return r
}

func TestPresigned(t *testing.T) {
	set := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	for name, c := range map[string]struct {
		r    *http.Request
		at   time.Duration
		want Kind
	}{
		"as it is":            {presigned(nil), 0, 255},
		"reordered":           {presigned(func(url.Values) {}), 0, 255},
		"at its end":          {presigned(nil), time.Hour, 255},
		"after its end":       {presigned(nil), time.Hour + time.Second, RequestExpired},
		"a little early":      {presigned(nil), -15 * time.Minute, 255},
		"from the future":     {presigned(nil), -15*time.Minute - time.Second, RequestTimeTooSkewed},
		"expires longer":      {presigned(set("X-Amz-Expires", "3601")), 0, SignatureMismatch},
		"expires 0":           {presigned(set("X-Amz-Expires", "0")), 0, MalformedQuery},
		"expires over a week": {presigned(set("X-Amz-Expires", "604801")), 0, MalformedQuery},
		"expires negative":    {presigned(set("X-Amz-Expires", "-1")), 0, MalformedQuery},
		"expires huge":        {presigned(set("X-Amz-Expires", "99999999999999999999")), 0, MalformedQuery},
		"expires text":        {presigned(set("X-Amz-Expires", "1h")), 0, MalformedQuery},
		"no expires":          {presigned(func(q url.Values) { q.Del("X-Amz-Expires") }), 0, MalformedQuery},
		"no algorithm":        {presigned(func(q url.Values) { q.Del("X-Amz-Algorithm") }), 0, MalformedQuery},
		"no signature":        {presigned(func(q url.Values) { q.Del("X-Amz-Signature") }), 0, MalformedQuery},
		"no signed headers":   {presigned(func(q url.Values) { q.Del("X-Amz-SignedHeaders") }), 0, MalformedQuery},
		"two dates":           {presigned(func(q url.Values) { q.Add("X-Amz-Date", "20130524T000000Z") }), 0, MalformedQuery},
		"bad date":            {presigned(set("X-Amz-Date", "2013-05-24")), 0, MalformedQuery},
		"date of another day": {presigned(set("X-Amz-Date", "20130525T000000Z")), 0, MalformedQuery},
		"other time":          {presigned(set("X-Amz-Date", "20130524T000001Z")), 0, SignatureMismatch},
		"other version":       {presigned(set("versionId", "8")), 0, SignatureMismatch},
		"query added":         {presigned(set("response-content-type", "text/html")), 0, SignatureMismatch},
		"query removed":       {presigned(func(q url.Values) { q.Del("versionId") }), 0, SignatureMismatch},
		"wrong region":        {presigned(set("X-Amz-Credential", "K/20130524/eu-west-1/s3/aws4_request")), 0, MalformedQuery},
		"bad credential":      {presigned(set("X-Amz-Credential", "K")), 0, MalformedQuery},
		"unknown key":         {presigned(set("X-Amz-Credential", "K/20130524/us-east-1/s3/aws4_request")), 0, InvalidAccessKey},
		"SigV4A":              {presigned(set("X-Amz-Algorithm", "AWS4-ECDSA-P256-SHA256")), 0, UnsupportedSignature},
		"session token":       {presigned(set("X-Amz-Security-Token", "t")), 0, InvalidToken},
		"short signature":     {presigned(set("X-Amz-Signature", "00")), 0, MalformedQuery},
		"wrong signature":     {presigned(set("X-Amz-Signature", strings.Repeat("0", 64))), 0, SignatureMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verifierAt(t, exampleTime.Add(c.at)).Verify(c.r)
			if c.want == 255 {
				require.NoError(t, err)
				return
			}
			requireKind(t, c.want, err)
		})
	}
	v := verifierAt(t, exampleTime)
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   Kind
	}{
		"method":          {func(r *http.Request) { r.Method = "DELETE" }, SignatureMismatch},
		"unsigned header": {func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }, AccessDenied},
		"payload header":  {func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", sigv4.EmptySHA256) }, AccessDenied},
		"range":           {func(r *http.Request) { r.Header.Set("Range", "bytes=0-1") }, 255},
	} {
		r := presigned(nil)
		c.change(r)
		_, err := v.Verify(r)
		if c.want == 255 {
			require.NoError(t, err, name)
			continue
		}
		requireKind(t, c.want, err, name)
	}
}

func TestPresignedPayload(t *testing.T) {
	v := verifierAt(t, exampleTime)
	put := func(query string) *http.Request {
		r := exampleRequest("PUT", "/b/k"+query, "body", "X-Amz-Content-Sha256", sign.HashOf([]byte("body")))
		r.URL = exampleSigner.Presign(r, time.Hour, exampleTime)
		return r
	}
	got, err := outcome(v, put(""))
	require.NoError(t, err)
	require.Equal(t, "body", got)
	r := put("")
	r.Body = io.NopCloser(strings.NewReader("bodY"))
	_, err = outcome(v, r)
	requireKind(t, PayloadMismatch, err)
	_, err = outcome(v, put("?X-Amz-Content-Sha256="+sign.HashOf([]byte("body"))))
	require.NoError(t, err)
	_, err = outcome(v, put("?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"))
	requireKind(t, InvalidContentSHA256, err)

	r = exampleRequest("PUT", "/b/k", "body")
	r.URL = exampleSigner.Presign(r, time.Hour, exampleTime)
	verified, err := v.Verify(r)
	require.NoError(t, err)
	require.False(t, verified.SignedPayload)
}

func TestAnonymous(t *testing.T) {
	v := verifierAt(t, exampleTime)
	r := exampleRequest("PUT", "/b/k?acl", "body", "X-Amz-Acl", "private")
	got, err := v.Verify(r)
	require.NoError(t, err)
	require.True(t, got.Anonymous)
	require.Empty(t, got.AccessKey)
	require.False(t, got.SignedPayload)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, "body", string(body))

	_, err = outcome(v, exampleRequest("PUT", "/b/k", "body", "X-Amz-Content-Sha256", sign.HashOf([]byte("other"))))
	requireKind(t, PayloadMismatch, err)
	_, err = outcome(v, exampleRequest("PUT", "/b/k", "body", "X-Amz-Content-Sha256", sigv4.StreamingSigned, "X-Amz-Decoded-Content-Length", "1"))
	requireKind(t, AccessDenied, err)
	text, err := outcome(v, exampleRequest("PUT", "/b/k", "4\r\nbody\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
		"X-Amz-Content-Sha256", sigv4.StreamingUnsignedTrailer, "X-Amz-Decoded-Content-Length", "4", "X-Amz-Trailer", "x-amz-checksum-crc32"))
	require.NoError(t, err)
	require.Equal(t, "body", text)
	r = exampleRequest("GET", "/b/k", "")
	r.Body = nil
	_, err = outcome(v, r)
	require.NoError(t, err)
}

func TestBodyErrors(t *testing.T) {
	v := verifierAt(t, exampleTime)
	broken := errors.New("connection reset")
	for _, payload := range []string{sign.UnsignedPayload, sign.HashOf([]byte("body"))} {
		fresh := func(body io.Reader) *http.Request {
			r := exampleRequest("PUT", "/b/k", "body")
			exampleSigner.Sign(r, payload, exampleTime)
			r.Body = io.NopCloser(body)
			return r
		}
		_, err := outcome(v, fresh(iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
		_, err = outcome(v, fresh(iotest.ErrReader(io.ErrUnexpectedEOF)))
		requireKind(t, IncompleteBody, err)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		_, err = outcome(v, fresh(strings.NewReader("bod")))
		requireKind(t, IncompleteBody, err)
		for _, odd := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader} {
			got, err := outcome(v, fresh(odd(strings.NewReader("body"))))
			require.NoError(t, err)
			require.Equal(t, "body", got)
		}
	}
}

// TestReaderThatStopsAtLength: a body's last bytes are held back until they are right.
func TestReaderThatStopsAtLength(t *testing.T) {
	v := verifierAt(t, exampleTime)
	r := exampleRequest("PUT", "/b/k", "bodY")
	exampleSigner.Sign(r, sign.HashOf([]byte("body")), exampleTime)
	got, err := v.Verify(r)
	require.NoError(t, err)
	_, err = io.ReadFull(got.Body, make([]byte, 4))
	requireKind(t, PayloadMismatch, err)
	_, err = got.Body.Read(make([]byte, 4))
	requireKind(t, PayloadMismatch, err)
}

// TestRotatedSecret: a new secret counts at once, and the old one no longer.
func TestRotatedSecret(t *testing.T) {
	var secret atomic.Value
	secret.Store("old")
	v, err := New(Options{Now: func() time.Time { return exampleTime }, Secret: func(string) (string, bool) { return secret.Load().(string), true }})
	require.NoError(t, err)
	try := func(secret string) error {
		r := exampleRequest("GET", "/", "")
		sign.New(exampleKey, secret, exampleRegion).Sign(r, sign.EmptyPayload, exampleTime)
		_, err := v.Verify(r)
		return err
	}
	require.NoError(t, try("old"))
	require.NoError(t, try("old"))
	requireKind(t, SignatureMismatch, try("new"))
	secret.Store("new")
	require.NoError(t, try("new"))
	requireKind(t, SignatureMismatch, try("old"))
}

func TestKeysAreBounded(t *testing.T) {
	k := newKeys()
	for i := range 3 * maxShardKeys {
		c, ok := parseCredential(fmt.Sprintf("K/%08d/us-east-1/s3/aws4_request", i))
		require.True(t, ok)
		require.Equal(t, "K", k.get(c, "s").accessKey)
	}
	for i := range k.shards {
		require.LessOrEqual(t, len(k.shards[i].of), maxShardKeys)
	}
}

// Where no region is set, one is as good as another; and a signature is of the one that it names.
func TestAnyRegion(t *testing.T) {
	v, err := New(Options{Now: func() time.Time { return exampleTime }, Secret: func(string) (string, bool) { return exampleSecret, true }})
	require.NoError(t, err)
	for _, region := range []string{"us-east-1", "eu-central-1", "auto", ""} {
		r := exampleRequest("GET", "/b", "")
		sign.New(exampleKey, exampleSecret, region).Sign(r, sign.EmptyPayload, exampleTime)
		_, err = v.Verify(r)
		require.NoError(t, err, region)
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/"+region+"/s3/", "/mars-1/s3/", 1))
		_, err = v.Verify(r)
		requireKind(t, SignatureMismatch, err)
	}
}

// TestLocationInAnotherRegion: clients ask where a bucket is before they know it.
func TestLocationInAnotherRegion(t *testing.T) {
	v, err := New(Options{Region: "eu-north-1", Now: func() time.Time { return exampleTime }, Secret: func(string) (string, bool) { return exampleSecret, true }})
	require.NoError(t, err)
	for target, ok := range map[string]bool{"/b?location": true, "/b": false} {
		r := exampleRequest("GET", target, "")
		exampleSigner.Sign(r, sign.EmptyPayload, exampleTime)
		_, err := v.Verify(r)
		if ok {
			require.NoError(t, err)
			continue
		}
		require.Contains(t, requireKind(t, MalformedAuthorization, err).Message, "eu-north-1")
	}
	r := exampleRequest("GET", "/b", "")
	sign.New(exampleKey, exampleSecret, "eu-north-1").Sign(r, sign.EmptyPayload, exampleTime)
	_, err = v.Verify(r)
	require.NoError(t, err)
}

func TestOptions(t *testing.T) {
	_, err := New(Options{})
	require.Error(t, err)
	_, err = New(Options{Secret: func(string) (string, bool) { return "", false }, Skew: -1})
	require.Error(t, err)
	v, err := New(Options{Secret: func(string) (string, bool) { return "", false }})
	require.NoError(t, err)
	require.Equal(t, 15*time.Minute, v.o.Skew)
	_, ok := KindOf(errors.New("other"))
	require.False(t, ok)
}

// TestHugeSignedHeaders: what a request may make the server do stays in
// proportion to the request.
func TestHugeSignedHeaders(t *testing.T) {
	r := signedPut("x")
	var names []string
	for i := range 20_000 {
		name := fmt.Sprintf("x-amz-meta-%05d", i)
		names = append(names, name)
		r.Header.Set(name, "v")
	}
	r.Header.Set("Authorization", authorizationFor("host;"+strings.Join(names, ";"), strings.Repeat("0", 64)))
	start := time.Now()
	_, err := verifierAt(t, exampleTime).Verify(r)
	require.Error(t, err)
	require.Less(t, time.Since(start), 2*time.Second)
}

// curl signs without x-amz-content-sha256. Where there is no body, its hash is known all the same.
func TestNoPayloadHashOfNoBody(t *testing.T) {
	v := verifierAt(t, exampleTime)
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = h.Write([]byte(text))
		return h.Sum(nil)
	}
	request := func(method, hash string) *http.Request {
		r := httptest.NewRequest(method, "http://example.com/bucket/key", nil)
		r.Header.Set("X-Amz-Date", exampleDate)
		canonical := method + "\n/bucket/key\n\nhost:example.com\nx-amz-date:" + exampleDate + "\n\nhost;x-amz-date\n" + hash
		scope := exampleDate[:8] + "/" + exampleRegion + "/s3/aws4_request"
		sum := sha256.Sum256([]byte(canonical))
		key := mac(mac(mac(mac([]byte("AWS4"+exampleSecret), exampleDate[:8]), exampleRegion), "s3"), "aws4_request")
		signature := hex.EncodeToString(mac(key, "AWS4-HMAC-SHA256\n"+exampleDate+"\n"+scope+"\n"+hex.EncodeToString(sum[:])))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/"+scope+", SignedHeaders=host;x-amz-date, Signature="+signature)
		return r
	}
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		_, err := outcome(v, request(method, sign.EmptyPayload))
		require.NoError(t, err, method)
	}
	_, err := outcome(v, request("GET", sign.UnsignedPayload))
	requireKind(t, SignatureMismatch, err)
	r := request("PUT", sign.EmptyPayload)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("body")), 4
	_, err = outcome(v, r)
	requireKind(t, MissingContentSHA256, err)
}
