package s3

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Documents of more elements than may be are not read to their ends.
func TestLongDocumentsTakeLittle(t *testing.T) {
	for name, parse := range map[string]func() error{
		"parts": func() error {
			_, err := parseComplete([]byte("<CompleteMultipartUpload>" + strings.Repeat("<Part/>", 599_000) + "</CompleteMultipartUpload>"))
			return err
		},
		"objects": func() error {
			return parseXML([]byte("<Delete>"+strings.Repeat("<Object/>", 466_000)+"</Delete>"), new(deleteDocument))
		},
		"keys": func() error {
			return parseXML([]byte("<Delete><Object>"+strings.Repeat("<Key/>", 600_000)+"</Object></Delete>"), new(deleteDocument))
		},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := parse()
		runtime.ReadMemStats(&after)
		require.Error(t, err, name)
		require.Equal(t, "MalformedXML", refusalOf(err).name, name)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(48<<20), name)
	}
}

// What is held until its end has come is bounded for all requests together.
func TestLongDocumentsAreBounded(t *testing.T) {
	server := newTestServer(t, newFake("b"))
	body := "<Delete><Object><Key>k</Key></Object></Delete>"
	header := map[string]string{"Content-MD5": md5Base64(body)}
	longDocuments.SetMost(1)
	status, text := do(t, server, "POST", "/b?delete", header, body)
	require.Equal(t, 503, status)
	require.Contains(t, text, "SlowDown")
	longDocuments.SetMost(0)
	status, _ = do(t, server, "POST", "/b?delete", header, body)
	require.Equal(t, 200, status)
	require.Zero(t, longDocuments.Taken())
}
