package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/cmd/cairn/internal/config"
	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
)

// greet tells a person how to use the server. The secret is shown once, when it is made, and
// on a terminal alone: all else is kept as a log. What a person chose is not shown at all.
func greet(w io.Writer, program, url string, s *config.Settings, keys credentials.Pair, made, terminal bool) {
	dir := shellQuote(s.Data[0])
	var text bytes.Buffer
	defer func() { _, _ = w.Write(text.Bytes()) }() // at once, in whatever company
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(&text, format+"\n", args...) }
	p("")
	p("Cairn serves S3 on %s, from %s", url, s.Data[0])
	switch {
	case made && !terminal:
		p("Credentials were made now and are kept in the data directory. To see them:")
		p("  %s credentials show --data %s", program, dir)
	case made:
		p("")
		p("  access key  %s", keys.AccessKey)
		p("  secret key  %s", keys.SecretKey)
		p("")
		p("These credentials were made now and are kept in the data directory. To see them again:")
		p("  %s credentials show --data %s", program, dir)
	case s.RootUser == "":
		p("Credentials are the ones made on the first start. To see them:")
		p("  %s credentials show --data %s", program, dir)
	default:
		p("Credentials are the ones given, of user %s.", keys.AccessKey)
		return
	}
	p("")
	p("In another terminal, with the AWS command line:")
	p(`  eval "$(%s credentials show --data %s --env)"`, program, dir)
	p("  export AWS_DEFAULT_REGION=%s", cmp.Or(s.Region, config.DefaultRegion))
	p("  aws --endpoint-url %s s3 mb s3://photos", url)
	p("  aws --endpoint-url %s s3 cp README.md s3://photos/", url)
	p("or with mc:")
	p(`  mc alias set cairn %s "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY"`, url)
	p("  mc ls cairn/photos")
	p("")
}

// isTerminal reports whether a person may read what is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
