package auth

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
	"github.com/cairnstore/cairn/engine/auth/sign"
)

// realGet is a GET as an SDK sends it, with its usual headers.
func realGet(now time.Time) *http.Request {
	r := exampleRequest("GET", "/bucket/photos/2013/05/IMG%200001.jpg?x-id=GetObject", "",
		"User-Agent", "aws-sdk-go-v2/1.47.7", "Accept-Encoding", "identity", "Amz-Sdk-Invocation-Id", "3f0c8a5e-9d0a-4c3e-8a35-1f1c52f6a1b2",
		"Amz-Sdk-Request", "attempt=1; max=3", "X-Amz-Checksum-Mode", "ENABLED")
	sign.New(exampleKey, exampleSecret, exampleRegion).Sign(r, sign.EmptyPayload, now)
	return r
}

func realPut(now time.Time, body []byte, payload string) *http.Request {
	r := exampleRequest("PUT", "/bucket/key", "x", "Content-Type", "application/octet-stream", "X-Amz-Meta-Origin", "camera 7")
	r.ContentLength = int64(len(body))
	sign.New(exampleKey, exampleSecret, exampleRegion).Sign(r, payload, now)
	return r
}

// A rewinder is a body that benchmarks can send again.
type rewinder struct{ bytes.Reader }

func (*rewinder) Close() error { return nil }

// TestVerifyAllocates keeps the hot path's promise: the Request itself and, with
// a payload, its body.
func TestVerifyAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop at random")
	}
	v := verifierAt(t, exampleTime)
	body := bytes.Repeat([]byte("b"), 4096)
	buf := make([]byte, 8192)
	for name, c := range map[string]struct {
		r     *http.Request
		bound float64
	}{
		"GET":                  {realGet(exampleTime), 1},
		"PUT, payload hashed":  {realPut(exampleTime, body, sign.HashOf(body)), 2},
		"PUT, payload unknown": {realPut(exampleTime, body, sign.UnsignedPayload), 2},
	} {
		t.Run(name, func(t *testing.T) {
			var src rewinder
			if c.r.Method == "PUT" {
				c.r.Body = &src
			}
			once := func() {
				src.Reset(body)
				got, err := v.Verify(c.r)
				if err != nil {
					t.Fatal(err)
				}
				for err == nil {
					_, err = got.Body.Read(buf)
				}
				if err != io.EOF {
					t.Fatal(err)
				}
			}
			once()
			require.LessOrEqual(t, testing.AllocsPerRun(200, once), c.bound)
		})
	}
}

func BenchmarkVerifyHeader(b *testing.B) {
	v, r := verifierAt(b, exampleTime), realGet(exampleTime)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyHeaderParallel(b *testing.B) {
	v := verifierAt(b, exampleTime)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := realGet(exampleTime)
		for pb.Next() {
			if _, err := v.Verify(r); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkVerifyPresigned(b *testing.B) {
	v, r := verifierAt(b, exampleTime), exampleRequest("GET", "/bucket/key", "")
	r.URL = sign.New(exampleKey, exampleSecret, exampleRegion).Presign(r, time.Hour, exampleTime)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s, r := sign.New(exampleKey, exampleSecret, exampleRegion), realGet(exampleTime)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(r, sign.EmptyPayload, exampleTime)
	}
}

func BenchmarkSHA256Body(b *testing.B) {
	body := bytes.Repeat([]byte("b"), 1<<20)
	benchmarkBody(b, realPut(exampleTime, body, sign.HashOf(body)), body, int64(len(body)))
}

func BenchmarkChunkedBody(b *testing.B) {
	body := bytes.Repeat([]byte("b"), 1<<20)
	for name, c := range map[string]sign.Chunks{
		"signed":   {Size: 1 << 20},
		"unsigned": {Size: 1 << 20, Unsigned: true},
	} {
		b.Run(name, func(b *testing.B) {
			r := exampleRequest("PUT", "/bucket/key", "")
			sign.New(exampleKey, exampleSecret, exampleRegion).SignChunked(r, bytes.NewReader(body), c, exampleTime)
			framed, err := io.ReadAll(r.Body)
			require.NoError(b, err)
			benchmarkBody(b, r, framed, c.Size)
		})
	}
}

func benchmarkBody(b *testing.B, r *http.Request, sent []byte, size int64) {
	v := verifierAt(b, exampleTime)
	var src rewinder
	r.Body = &src
	buf := make([]byte, 256<<10)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(sent)
		got, err := v.Verify(r)
		for err == nil {
			_, err = got.Body.Read(buf)
		}
		if err != io.EOF {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewKey(b *testing.B) {
	for b.Loop() {
		sigv4.NewKey(exampleSecret, "20130524", "us-east-1")
	}
}
