package s3

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFormFileName: of a path, whichever way it is written, only the name goes into the key.
func TestFormFileName(t *testing.T) {
	for name, want := range map[string]string{
		`f.txt`: "p/f.txt", `a/b/f.txt`: "p/f.txt", `../f.txt`: "p/f.txt", `C:\dir\f.txt`: "p/f.txt", ``: "p/",
	} {
		body := "--X\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\np/${filename}\r\n" +
			"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\nbody\r\n--X--"
		f, err := readForm(strings.NewReader(body), "multipart/form-data; boundary=X", time.Now().Add(time.Minute))
		require.NoError(t, err, name)
		require.Equal(t, want, f.fields["key"], name)
	}
}
