package auth

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

// The worked examples of the Amazon S3 API reference, "Authenticating Requests
// (AWS Signature Version 4)": requests, credentials and signatures are its own.
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	exampleRegion = "us-east-1"
	exampleHost   = "examplebucket.s3.amazonaws.com"
	exampleDate   = "20130524T000000Z"
)

var exampleTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

func verifierAt(t testing.TB, now time.Time) *Verifier {
	t.Helper()
	v, err := New(Options{Region: exampleRegion, Now: func() time.Time { return now }, Secret: func(key string) (string, bool) {
		return exampleSecret, key == exampleKey
	}})
	require.NoError(t, err)
	return v
}

func exampleRequest(method, target, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = exampleHost
	if body == "" {
		r.Body = http.NoBody
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func authorizationFor(signedHeaders, signature string) string {
	return "AWS4-HMAC-SHA256 Credential=" + exampleKey + "/20130524/us-east-1/s3/aws4_request,SignedHeaders=" +
		signedHeaders + ",Signature=" + signature
}

func TestHeaderExamples(t *testing.T) {
	const welcome = "Welcome to Amazon S3."
	for name, c := range map[string]struct {
		request       *http.Request
		signedHeaders string
		signature     string
	}{
		"GET object": {
			exampleRequest("GET", "/test.txt", "", "Range", "bytes=0-9", "x-amz-content-sha256", sigv4.EmptySHA256, "x-amz-date", exampleDate),
			"host;range;x-amz-content-sha256;x-amz-date",
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		},
		"PUT object": {
			exampleRequest("PUT", "/test$file.text", welcome, "Date", "Fri, 24 May 2013 00:00:00 GMT", "x-amz-date", exampleDate,
				"x-amz-storage-class", "REDUCED_REDUNDANCY", "x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
			"date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		},
		"GET bucket lifecycle": {
			exampleRequest("GET", "/?lifecycle", "", "x-amz-content-sha256", sigv4.EmptySHA256, "x-amz-date", exampleDate),
			"host;x-amz-content-sha256;x-amz-date",
			"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		},
		"list objects": {
			exampleRequest("GET", "/?max-keys=2&prefix=J", "", "x-amz-content-sha256", sigv4.EmptySHA256, "x-amz-date", exampleDate),
			"host;x-amz-content-sha256;x-amz-date",
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.request
			r.Header.Set("Authorization", authorizationFor(c.signedHeaders, c.signature))
			got, err := verifierAt(t, exampleTime).Verify(r)
			require.NoError(t, err)
			require.Equal(t, exampleKey, got.AccessKey)
			require.False(t, got.Anonymous)
			require.True(t, got.SignedPayload)
			body, err := io.ReadAll(got.Body)
			require.NoError(t, err)
			require.Len(t, body, int(r.ContentLength))

			hash := r.Header.Get("X-Amz-Content-Sha256")
			sign.New(exampleKey, exampleSecret, exampleRegion).Sign(r, hash, exampleTime)
			require.Contains(t, r.Header.Get("Authorization"), c.signature, "the signer finds the same")
		})
	}
}

func TestPresignedExample(t *testing.T) {
	r := exampleRequest("GET", "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"+
		"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"+
		"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404", "")
	got, err := verifierAt(t, exampleTime.Add(time.Hour)).Verify(r)
	require.NoError(t, err)
	require.Equal(t, exampleKey, got.AccessKey)
	require.False(t, got.SignedPayload)

	plain := exampleRequest("GET", "/test.txt", "")
	u := sign.New(exampleKey, exampleSecret, exampleRegion).Presign(plain, 24*time.Hour, exampleTime)
	require.Equal(t, r.URL.RequestURI(), u.RequestURI())
}

// chunkedExample is the reference's upload of 65 KiB of the letter a.
func chunkedExample(trailer bool) *http.Request {
	var body strings.Builder
	chunk := func(size int, signature string) {
		body.WriteString(strconv.FormatInt(int64(size), 16) + ";chunk-signature=" + signature + "\r\n")
		body.WriteString(strings.Repeat("a", size))
		if size > 0 || !trailer {
			body.WriteString("\r\n")
		}
	}
	signedHeaders := "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class"
	seed := "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
	if !trailer {
		chunk(65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648")
		chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497")
		chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
	} else {
		signedHeaders = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer"
		seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
		chunk(65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2")
		chunk(1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7")
		chunk(0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992")
		body.WriteString("x-amz-checksum-crc32c:sOO8/Q==\r\n" +
			"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n")
	}
	r := exampleRequest("PUT", "/examplebucket/chunkObject.txt", body.String(), "x-amz-date", exampleDate,
		"x-amz-storage-class", "REDUCED_REDUNDANCY", "Content-Encoding", "aws-chunked", "x-amz-decoded-content-length", "66560",
		"x-amz-content-sha256", sigv4.StreamingSigned)
	r.Host = "s3.amazonaws.com"
	if trailer {
		r.Header.Set("x-amz-content-sha256", sigv4.StreamingSignedTrailer)
		r.Header.Set("x-amz-trailer", "x-amz-checksum-crc32c")
	}
	r.Header.Set("Authorization", authorizationFor(signedHeaders, seed))
	return r
}

func TestChunkedExamples(t *testing.T) {
	for _, trailer := range []bool{false, true} {
		r := chunkedExample(trailer)
		if !trailer {
			require.EqualValues(t, 66824, r.ContentLength, "as the reference says")
		}
		got, err := verifierAt(t, exampleTime).Verify(r)
		require.NoError(t, err)
		require.EqualValues(t, 66560, got.Length)
		require.True(t, got.SignedPayload)
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.Equal(t, bytes.Repeat([]byte("a"), 66560), body)
		if trailer {
			require.Equal(t, http.Header{"X-Amz-Checksum-Crc32c": {"sOO8/Q=="}}, got.Trailer())
		} else {
			require.Nil(t, got.Trailer)
		}
	}
}

// TestSignerFramesLikeTheExample: the trailing example's chunk and trailer
// signatures come out of the signer.
func TestSignerFramesLikeTheExample(t *testing.T) {
	r := exampleRequest("PUT", "/examplebucket/chunkObject.txt", "", "x-amz-storage-class", "REDUCED_REDUNDANCY")
	r.Host = "s3.amazonaws.com"
	sign.New(exampleKey, exampleSecret, exampleRegion).SignChunked(r, strings.NewReader(strings.Repeat("a", 66560)), sign.Chunks{
		Size:     66560,
		Trailers: []sign.Trailer{{Name: "x-amz-checksum-crc32c", Size: 8, Value: func() string { return "sOO8/Q==" }}},
	}, exampleTime)
	got, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	want, err := io.ReadAll(chunkedExample(true).Body)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	require.EqualValues(t, len(want), r.ContentLength)
}

const examplePolicy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"

func examplePost() map[string]string {
	return map[string]string{
		"key":                          "user/user1/photo.jpg",
		"acl":                          "public-read",
		"success_action_redirect":      "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
		"content-type":                 "image/jpeg",
		"x-amz-meta-uuid":              "14365123651274",
		"x-amz-server-side-encryption": "AES256",
		"x-amz-credential":             "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
		"x-amz-algorithm":              "AWS4-HMAC-SHA256",
		"x-amz-date":                   "20151229T000000Z",
		"x-amz-meta-tag":               "",
		"policy":                       examplePolicy,
		"x-amz-signature":              "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
	}
}

func TestPostExample(t *testing.T) {
	v := verifierAt(t, time.Date(2015, 12, 29, 12, 0, 0, 0, time.UTC))
	post, err := v.VerifyPost(examplePost(), "sigv4examplebucket")
	require.NoError(t, err)
	require.Equal(t, &Post{AccessKey: exampleKey, MaxLength: -1}, post)
}
