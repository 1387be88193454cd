package auth

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv2"
)

// verifier2At knows hosts below s3.amazonaws.com.
func verifier2At(t testing.TB, now time.Time) *Verifier {
	t.Helper()
	v := verifierAt(t, now)
	v.o.HostBucket = func(host string) string {
		bucket, _ := strings.CutSuffix(host, ".s3.amazonaws.com")
		if bucket == host {
			return ""
		}
		return bucket
	}
	return v
}

// The examples of the S3 reference, "Signing and authenticating REST requests".
func TestVersion2Examples(t *testing.T) {
	for _, c := range []struct {
		method, host, target, date, signature string
		headers                               []string
	}{
		{"GET", "johnsmith.s3.amazonaws.com", "/photos/puppy.jpg", "Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", nil},
		{"GET", "awsexamplebucket1.s3.amazonaws.com", "/photos/puppy.jpg", "Tue, 27 Mar 2007 19:36:42 +0000", "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=", nil},
		{"GET", "s3.amazonaws.com", "/johnsmith/photos/puppy.jpg", "Tue, 27 Mar 2007 19:36:42 +0000", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", nil},
		{"PUT", "johnsmith.s3.amazonaws.com", "/photos/puppy.jpg", "Tue, 27 Mar 2007 21:15:45 +0000", "MyyxeRY7whkBe+bq8fHCL/2kKUg=", []string{"Content-Type", "image/jpeg"}},
		{"GET", "johnsmith.s3.amazonaws.com", "/?prefix=photos&max-keys=50&marker=puppy", "Tue, 27 Mar 2007 19:42:41 +0000", "htDYFYduRNen8P9ZfE/s9SuKy0U=", nil},
		{"GET", "johnsmith.s3.amazonaws.com", "/?acl", "Tue, 27 Mar 2007 19:44:46 +0000", "c2WLPFtWHVgbEmeEG93a4cG37dM=", nil},
		{"PUT", "static.johnsmith.net.s3.amazonaws.com", "/db-backup.dat.gz", "Tue, 27 Mar 2007 21:06:08 +0000", "ilyl83RwaSoYIEdixDQcA4OnAnc=", []string{
			"X-Amz-Acl", "public-read", "Content-Type", "application/x-download", "Content-MD5", "4gJE4saaMU4BqNR0kLY+lw==",
			"X-Amz-Meta-ReviewedBy", "joe@johnsmith.net,jane@johnsmith.net", "X-Amz-Meta-FileChecksum", "0x02661779", "X-Amz-Meta-ChecksumAlgorithm", "crc32",
			"Content-Disposition", "attachment; filename=database.dat", "Content-Encoding", "gzip",
		}},
		{"GET", "s3.amazonaws.com", "/", "Wed, 28 Mar 2007 01:29:59 +0000", "qGdzdERIC03wnaRNKh6OqZehG9s=", nil},
		{"GET", "s3.amazonaws.com", "/dictionary/fran%C3%A7ais/pr%c3%a9f%c3%a8re", "Wed, 28 Mar 2007 01:49:49 +0000", "DNEZGsoieTZ92F3bUfSPQcbGmlM=", nil},
	} {
		now, err := time.Parse(time.RFC1123Z, c.date)
		require.NoError(t, err)
		r := exampleRequest(c.method, c.target, "", append(c.headers, "Date", c.date, "Authorization", "AWS "+exampleKey+":"+c.signature)...)
		r.Host = c.host
		got, err := verifier2At(t, now).Verify(r)
		require.NoError(t, err, c.target)
		require.Equal(t, exampleKey, got.AccessKey)
		require.False(t, got.Anonymous)
	}
	r := exampleRequest("GET", "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620", "")
	r.Host = "johnsmith.s3.amazonaws.com"
	_, err := verifier2At(t, time.Unix(1175139620, 0)).Verify(r)
	require.NoError(t, err)
	r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, "%2B", "+")
	_, err = verifier2At(t, time.Unix(1175139620, 0)).Verify(r)
	require.NoError(t, err)
	_, err = verifier2At(t, time.Unix(1175139621, 0)).Verify(r)
	requireKind(t, RequestExpired, err)
}

// signed2 is a request signed as minio-go signs it.
func signed2(t testing.TB, method, target string, headers ...string) *http.Request {
	t.Helper()
	r := exampleRequest(method, target, "")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if r.Header.Get("Date") == "" {
		r.Header.Set("Date", exampleTime.Format(http.TimeFormat))
	}
	return signer.SignV2(*r, exampleKey, exampleSecret, false)
}

func TestVersion2Header(t *testing.T) {
	put := func() *http.Request {
		return signed2(t, "PUT", "/bucket/key?uploadId=u&partNumber=2", "Content-Type", "text/plain", "Content-MD5", "4gJE4saaMU4BqNR0kLY+lw==", "X-Amz-Meta-One", "1")
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   Kind // 255: none
	}{
		"nothing":        {func(*http.Request) {}, 255},
		"unsigned":       {func(r *http.Request) { r.Header.Set("Range", "bytes=0-1"); r.Host = "other" }, 255},
		"list parameter": {func(r *http.Request) { r.URL.RawQuery += "&prefix=a" }, 255},
		"method":         {func(r *http.Request) { r.Method = "DELETE" }, SignatureMismatch},
		"path":           {func(r *http.Request) { r.URL.Path += "x" }, SignatureMismatch},
		"content type":   {func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }, SignatureMismatch},
		"second type":    {func(r *http.Request) { r.Header.Add("Content-Type", "text/html") }, SignatureMismatch},
		"MD5":            {func(r *http.Request) { r.Header.Del("Content-Md5") }, SignatureMismatch},
		"metadata":       {func(r *http.Request) { r.Header.Set("X-Amz-Meta-One", "2") }, SignatureMismatch},
		"more metadata":  {func(r *http.Request) { r.Header.Set("X-Amz-Meta-Two", "2") }, SignatureMismatch},
		"copy":           {func(r *http.Request) { r.Header.Set("X-Amz-Copy-Source", "/secret/key") }, SignatureMismatch},
		"part":           {func(r *http.Request) { r.URL.RawQuery = "uploadId=u&partNumber=3" }, SignatureMismatch},
		"second part":    {func(r *http.Request) { r.URL.RawQuery += "&partNumber=3" }, SignatureMismatch},
		"sub-resource":   {func(r *http.Request) { r.URL.RawQuery += "&tagging" }, SignatureMismatch},
		"none of S3's":   {func(r *http.Request) { r.URL.RawQuery += "&attributes" }, SignatureMismatch},
		"other date":     {func(r *http.Request) { r.Header.Set("Date", exampleTime.Add(time.Minute).Format(http.TimeFormat)) }, SignatureMismatch},
		"two dates":      {func(r *http.Request) { r.Header.Add("Date", r.Header.Get("Date")) }, AccessDenied},
		"no date":        {func(r *http.Request) { r.Header.Del("Date") }, AccessDenied},
		"x-amz-date":     {func(r *http.Request) { r.Header.Set("X-Amz-Date", exampleTime.Format(http.TimeFormat)) }, SignatureMismatch},
		"session token":  {func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") }, InvalidToken},
		"signed chunks": {func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
			r.Header.Set("X-Amz-Decoded-Content-Length", "0")
		}, UnsupportedSignature},
		"presigned too": {func(r *http.Request) { r.URL.RawQuery += "&Signature=s" }, MalformedAuthorization},
	} {
		r := put()
		c.change(r)
		_, err := verifierAt(t, exampleTime).Verify(r)
		if c.want == 255 {
			require.NoError(t, err, name)
			continue
		}
		requireKind(t, c.want, err, name)
	}
	slash := signed2(t, "GET", "/bucket/?versioning")
	slash.URL.Path = "/bucket"
	_, err := verifierAt(t, exampleTime).Verify(slash)
	require.NoError(t, err)
	slash.URL.Path = "/bucket//"
	_, err = verifierAt(t, exampleTime).Verify(slash)
	requireKind(t, SignatureMismatch, err)
	for header, want := range map[string]Kind{
		"AWS":                             MalformedAuthorization,
		"AWS ":                            MalformedAuthorization,
		"AWS x":                           MalformedAuthorization,
		"AWS :c2ln":                       MalformedAuthorization,
		"AWS " + exampleKey + ":":         MalformedAuthorization,
		"AWS " + exampleKey + ":c2ln":     SignatureMismatch,
		"AWS " + exampleKey + ":x:c2ln":   InvalidAccessKey,
		"AWS4 " + exampleKey + ":c2ln":    UnsupportedSignature,
		"AWS  " + exampleKey + ":c2ln":    InvalidAccessKey,
		"AWS " + exampleKey + "\x00:c2ln": InvalidAccessKey,
	} {
		r := put()
		r.Header["Authorization"] = []string{header}
		_, err := verifierAt(t, exampleTime).Verify(r)
		requireKind(t, want, err, header)
	}
	for at, want := range map[time.Duration]Kind{15 * time.Minute: 255, -15 * time.Minute: 255, 15*time.Minute + time.Second: RequestTimeTooSkewed, -15*time.Minute - time.Second: RequestTimeTooSkewed} {
		_, err := verifierAt(t, exampleTime.Add(at)).Verify(put())
		if want == 255 {
			require.NoError(t, err, at)
		} else {
			requireKind(t, want, err, at.String())
		}
	}

	// x-amz-date instead of Date, in either form; the body of a hash that was signed.
	for _, layout := range []string{http.TimeFormat, time.RFC1123Z, "20060102T150405Z"} {
		r := exampleRequest("PUT", "/bucket/key", "body", "X-Amz-Date", exampleTime.UTC().Format(layout))
		text := sigv2.Text{Method: "PUT", Amz: []sigv2.Pair{{Name: "x-amz-date", Value: exampleTime.UTC().Format(layout)}}, Path: "/bucket/key"}
		r.Header.Set("Authorization", "AWS "+exampleKey+":"+sigv2.Sign(exampleSecret, text.Append(nil)))
		got, err := verifierAt(t, exampleTime).Verify(r)
		require.NoError(t, err, layout)
		b, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.Equal(t, "body", string(b))
		require.False(t, got.SignedPayload)
	}
}

func TestVersion2Presigned(t *testing.T) {
	expires := strconv.FormatInt(exampleTime.Add(time.Minute).Unix(), 10)
	// As boto3 writes it: headers that begin with x-amz- stand in the query.
	text := sigv2.Text{
		Method: "GET", Date: expires, Amz: []sigv2.Pair{{Name: "x-amz-request-payer", Value: "requester"}}, Path: "/bucket/a%20b",
		Sub: []sigv2.Pair{{Name: "response-content-type", Value: "text/html; charset=utf-8"}, {Name: "versionId", Value: "7"}},
	}
	query := func(change func(url.Values)) string {
		q := url.Values{
			"response-content-type": {"text/html; charset=utf-8"}, "versionId": {"7"}, "x-amz-request-payer": {"requester"},
			"AWSAccessKeyId": {exampleKey}, "Expires": {expires}, "Signature": {sigv2.Sign(exampleSecret, text.Append(nil))},
		}
		if change != nil {
			change(q)
		}
		return q.Encode()
	}
	set := func(name, value string) string { return query(func(q url.Values) { q.Set(name, value) }) }
	for name, c := range map[string]struct {
		query string
		want  Kind // 255: none
	}{
		"good":              {query(nil), 255},
		"listing":           {set("prefix", "a"), 255},
		"other version":     {set("versionId", "8"), SignatureMismatch},
		"other type":        {set("response-content-type", "text/plain"), SignatureMismatch},
		"more":              {set("response-content-disposition", "inline"), SignatureMismatch},
		"sub-resource":      {set("acl", ""), SignatureMismatch},
		"unknown":           {set("attributes", ""), SignatureMismatch},
		"header's value":    {set("x-amz-request-payer", "x"), SignatureMismatch},
		"another header":    {set("x-amz-acl", "public-read"), SignatureMismatch},
		"same header twice": {query(func(q url.Values) { q["X-Amz-Request-Payer"] = []string{"x"} }), SignatureMismatch},
		"session token":     {set("x-amz-security-token", "t"), InvalidToken},
		"later":             {set("Expires", strconv.FormatInt(exampleTime.Add(time.Hour).Unix(), 10)), SignatureMismatch},
		"expired":           {set("Expires", strconv.FormatInt(exampleTime.Unix()-1, 10)), RequestExpired},
		"no number":         {set("Expires", "soon"), AccessDenied},
		"negative":          {set("Expires", "-1"), AccessDenied},
		"too large":         {set("Expires", "99999999999999999999"), AccessDenied},
		"two":               {query(func(q url.Values) { q.Add("Expires", expires) }), AccessDenied},
		"no expires":        {query(func(q url.Values) { q.Del("Expires") }), AccessDenied},
		"no key":            {query(func(q url.Values) { q.Del("AWSAccessKeyId") }), AccessDenied},
		"no signature":      {query(func(q url.Values) { q.Del("Signature") }), AccessDenied},
		"other key":         {set("AWSAccessKeyId", "K"), InvalidAccessKey},
		"wrong":             {set("Signature", "c2ln"), SignatureMismatch},
		"both versions":     {set("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), MalformedQuery},
	} {
		_, err := verifierAt(t, exampleTime).Verify(exampleRequest("GET", "/bucket/a%20b?"+c.query, ""))
		if c.want == 255 {
			require.NoError(t, err, name)
			continue
		}
		requireKind(t, c.want, err, name)
	}
	// The header itself, too, beside its parameter: the same or not at all.
	for value, want := range map[string]Kind{"requester": 255, "x": SignatureMismatch} {
		_, err := verifierAt(t, exampleTime).Verify(exampleRequest("GET", "/bucket/a%20b?"+query(nil), "", "X-Amz-Request-Payer", value))
		if want == 255 {
			require.NoError(t, err)
		} else {
			requireKind(t, want, err, value)
		}
	}
}

func TestMinioSigner2(t *testing.T) {
	for _, target := range oddTargets {
		body := "body of " + target
		r, err := http.NewRequest("PUT", "http://s3.example.com:9000"+target, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("X-Amz-Meta-B", "b c")
		r.Header.Set("X-Amz-Meta-A", "a")
		got, _, err := throughTheWire(t, signer.SignV2(*r, exampleKey, exampleSecret, false))
		require.NoError(t, err, target)
		require.Equal(t, body, got)

		r, err = http.NewRequest("GET", "http://s3.example.com:9000"+target, nil)
		require.NoError(t, err)
		_, _, err = throughTheWire(t, signer.PreSignV2(*r, exampleKey, exampleSecret, 600, false))
		require.NoError(t, err, target)
	}
}

func TestPostVersion2(t *testing.T) {
	form := func(policy string) map[string]string {
		p := base64.StdEncoding.EncodeToString([]byte(policy))
		return map[string]string{"awsaccesskeyid": exampleKey, "policy": p, "signature": signer.PostPresignSignatureV2(p, exampleSecret), "key": "a/b"}
	}
	const good = `{"expiration": "2013-05-24T01:00:00Z", "conditions": [{"bucket": "bucket"}, ["starts-with", "$key", "a/"], ["content-length-range", 1, 10]]}`
	v := verifierAt(t, exampleTime)
	post, err := v.VerifyPost(form(good), "bucket")
	require.NoError(t, err)
	require.Equal(t, &Post{AccessKey: exampleKey, MinLength: 1, MaxLength: 10}, post)
	for name, c := range map[string]struct {
		field, value string
		want         Kind
	}{
		"other key":     {"awsaccesskeyid", "K", InvalidAccessKey},
		"no key":        {"awsaccesskeyid", "", InvalidAccessKey},
		"signature":     {"signature", "c2ln", SignatureMismatch},
		"no signature":  {"signature", "", SignatureMismatch},
		"policy":        {"policy", "e30=", SignatureMismatch},
		"condition":     {"key", "b", PolicyViolated},
		"extra field":   {"acl", "public-read", PolicyViolated},
		"session token": {"x-amz-security-token", "t", InvalidToken},
		"Version 4":     {"x-amz-algorithm", "AWS4-HMAC-SHA256", MalformedQuery},
	} {
		f := form(good)
		f[c.field] = c.value
		_, err := v.VerifyPost(f, "bucket")
		requireKind(t, c.want, err, name)
	}
	_, err = v.VerifyPost(form(good), "other")
	requireKind(t, PolicyViolated, err)
	_, err = verifierAt(t, exampleTime.Add(time.Hour)).VerifyPost(form(good), "bucket")
	requireKind(t, RequestExpired, err)
}

// FuzzVersion2: nothing but what was signed gets in, and nothing panics.
func FuzzVersion2(f *testing.F) {
	r := signed2(f, "PUT", "/bucket/key?uploadId=u&partNumber=2", "X-Amz-Meta-One", "1")
	v := verifier2At(f, exampleTime)
	good := r.Header.Get("Authorization")
	date := r.Header.Get("Date")
	f.Add(good, date, r.URL.RawQuery, r.Host)
	f.Add("AWS a:b:c", "Tue, 27 Mar 2007 19:36:42 +0000", "acl&acl", "b.s3.amazonaws.com")
	f.Add("", date, "AWSAccessKeyId="+exampleKey+"&Expires=1999999999&Signature=x+y&x-amz-acl=%", "")
	f.Fuzz(func(t *testing.T, header, date, query, host string) {
		r := signed2(t, "PUT", "/bucket/key?uploadId=u&partNumber=2", "X-Amz-Meta-One", "1")
		r.Header["Authorization"] = []string{header}
		if header == "" {
			delete(r.Header, "Authorization")
		}
		r.Header["Date"] = []string{date}
		r.URL.RawQuery, r.Host = query, host
		got, err := v.Verify(r)
		if err != nil {
			_, ours := KindOf(err)
			require.True(t, ours, err)
			return
		}
		if got.Anonymous {
			return
		}
		require.Equal(t, good, header)
		require.Equal(t, exampleKey, got.AccessKey)
		q, _ := url.ParseQuery(query)
		require.Equal(t, []string{"u", "2"}, []string{q.Get("uploadId"), q.Get("partNumber")})
	})
}

// Whoever has a presigned URL has its signature, and must not find another request
// whose names and values, unescaped, make the same text.
func TestVersion2TextHasOneReading(t *testing.T) {
	expires := strconv.FormatInt(exampleTime.Add(time.Minute).Unix(), 10)
	amz := func(pairs ...string) (out []sigv2.Pair) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, sigv2.Pair{Name: pairs[i], Value: pairs[i+1]})
		}
		return out
	}
	for name, c := range map[string]struct {
		amz, sub []sigv2.Pair
		good     string
		forged   []string
	}{
		"a part": {sub: amz("partNumber", "1", "uploadId", "X"), good: "partNumber=1&uploadId=X",
			forged: []string{"partNumber%3D1%26uploadId=X", "partNumber%3D1%26uploadId%3DX", "partNumber=1%26uploadId%3DX"}},
		"tags": {sub: amz("tagging", "", "versionId", "null"), good: "tagging&versionId=null", forged: []string{"tagging%26versionId=null", "tagging%26versionId%3Dnull"}},
		"a version": {sub: amz("response-content-type", "text/plain", "versionId", "V"), good: "response-content-type=text/plain&versionId=V",
			forged: []string{"response-content-type=text/plain%26versionId%3DV", "response-content-type%3Dtext/plain%26versionId=V"}},
		"an override": {sub: amz("response-content-disposition", "a", "response-content-type", "b"), good: "response-content-disposition=a&response-content-type=b",
			forged: []string{"response-content-disposition=a%26response-content-type%3Db"}},
		"a copy": {amz: amz("x-amz-copy-source", "/b/a", "x-amz-metadata-directive", "COPY"), good: "x-amz-copy-source=/b/a&x-amz-metadata-directive=COPY",
			forged: []string{"x-amz-copy-source%3A%2Fb%2Fa%0Ax-amz-metadata-directive=COPY", "x-amz-copy-source=/b/a%0Ax-amz-metadata-directive%3ACOPY"}},
		"metadata": {amz: amz("x-amz-meta-a", "1", "x-amz-tagging", "a=b"), good: "x-amz-meta-a=1&x-amz-tagging=a%3Db",
			forged: []string{"x-amz-meta-a=1%0Ax-amz-tagging%3Aa%3Db", "x-amz-meta-a%3A1%0Ax-amz-tagging=a%3Db"}},
		"an ampersand": {sub: amz("response-content-disposition", `attachment; filename="R&D&versions.pdf"`), good: "response-content-disposition=attachment%3B+filename%3D%22R%26D%26versions.pdf%22"},
	} {
		text := sigv2.Text{Method: "PUT", Date: expires, Amz: c.amz, Path: "/bucket/key", Sub: c.sub}
		verify := func(query string) error {
			q := "&AWSAccessKeyId=" + exampleKey + "&Expires=" + expires + "&Signature=" + url.QueryEscape(sigv2.Sign(exampleSecret, text.Append(nil)))
			_, err := verifierAt(t, exampleTime).Verify(exampleRequest("PUT", "/bucket/key?"+query+q, ""))
			return err
		}
		require.NoError(t, verify(c.good), name)
		for _, query := range c.forged {
			requireKind(t, SignatureMismatch, verify(query), query)
		}
	}
}

// The text of a query that is accepted, made of what S3's clients sign, reads in
// one way: as that query.
func FuzzVersion2TextHasOneReading(f *testing.F) {
	f.Add("partNumber=1&uploadId=X")
	f.Add("partNumber%3D1%26uploadId=X")
	f.Add("response-content-disposition=a%26b&versionId=%3D")
	f.Fuzz(func(t *testing.T, query string) {
		var w work
		w.query.Parse(query)
		if !w.unmistakable2(false) {
			return
		}
		known := func(name string) bool { return subresources2[name] || mustSign(name) }
		want := w.sub2(false)
		for _, p := range want {
			if !known(p.Name) {
				return
			}
		}
		text := sigv2.Text{Sub: want}
		_, sub, has := strings.Cut(string(text.Append(nil)), "?")
		var got []sigv2.Pair
		for _, piece := range strings.Split(sub, "&") {
			if name, value, _ := strings.Cut(piece, "="); has && known(name) {
				got = append(got, sigv2.Pair{Name: name, Value: value})
			} else if has {
				got[len(got)-1].Value += "&" + piece
			}
		}
		require.Equal(t, want, got)
	})
}
