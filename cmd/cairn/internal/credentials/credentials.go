// Package credentials keeps the root credentials of a data directory: made
// once where none are given, and readable by their owner alone.
package credentials

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// FileName is the file's, in the data directory.
const FileName = "credentials.json"

const version = 1

// A Pair is an access key and its secret.
type Pair struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// file is what is stored; docs/format/credentials.md.
type file struct {
	Version int `json:"version"`
	Pair
	Created time.Time `json:"created"`
}

// ErrNone: the directory has no credentials file.
var ErrNone = errors.New("no credentials are kept there")

// Validate checks a pair that somebody chose. Lengths are the ones that MinIO
// asks for, so that a pair moves over; a slash, comma, equals sign or blank in
// the user would break up the credential scope of a signature.
func (p Pair) Validate() error {
	switch {
	case len(p.AccessKey) < 3 || len(p.AccessKey) > 128:
		return errors.New("root-user: must have 3 to 128 characters")
	case strings.ContainsFunc(p.AccessKey, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/,=", r) }):
		return errors.New("root-user: must be ASCII without blanks, slashes, commas and equals signs")
	case len(p.SecretKey) < 8 || len(p.SecretKey) > 256:
		return errors.New("root-password: must have 8 to 256 characters")
	}
	return nil
}

// Load reads the pair kept in dir. It refuses a file that others may read:
// such a secret is none any more, and somebody should know.
func Load(dir string) (Pair, error) {
	name := filepath.Join(dir, FileName)
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		if to, err := os.Readlink(name); err == nil {
			return Pair{}, fmt.Errorf("credentials: %s is a link to %s, where nothing is: restore that, or remove the link to have new credentials made", name, to)
		}
		return Pair{}, fmt.Errorf("credentials: %s: %w", dir, ErrNone)
	}
	if err != nil {
		return Pair{}, fmt.Errorf("credentials: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return Pair{}, fmt.Errorf("credentials: %s may be read by everyone (mode %04o): the secret may have been seen; run chmod 600 on it, or remove it to have new credentials made", name, mode)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return Pair{}, fmt.Errorf("credentials: %w", err)
	}
	return parse(name, text)
}

func parse(name string, text []byte) (Pair, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return Pair{}, fmt.Errorf("credentials: %s is damaged: %w; restore it, or remove it to have new credentials made", name, err)
	}
	if f.Version != version {
		return Pair{}, fmt.Errorf("credentials: %s has version %d, and this build knows version %d: use a build as new as the one that wrote it", name, f.Version, version)
	}
	if err := f.Validate(); err != nil {
		return Pair{}, fmt.Errorf("credentials: %s: %w", name, err)
	}
	return f.Pair, nil
}

// LoadOrMake returns the pair kept in dir, which must exist, and makes one if
// there is none; made says so. Of several processes that make one at the same
// time, all get the same.
func LoadOrMake(dir string) (p Pair, made bool, err error) {
	p, err = Load(dir)
	if !errors.Is(err, ErrNone) {
		return p, false, err
	}
	p = random()
	if err := write(dir, p); err != nil {
		if errors.Is(err, fs.ErrExist) {
			p, err = Load(dir)
			return p, false, err
		}
		return Pair{}, false, fmt.Errorf("credentials: %w", err)
	}
	return p, true, nil
}

// random returns a pair with 100 and 200 bits of chance, in letters and digits
// that survive shells, URLs and copying by hand.
func random() Pair {
	return Pair{AccessKey: letters(20), SecretKey: letters(40)}
}

func letters(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" // 32 of them: no bias in a byte
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: documented since Go 1.24
	for i := range b {
		b[i] = alphabet[b[i]%32]
	}
	return string(b)
}

// write puts the file in place whole and durable, or fails with fs.ErrExist:
// a link, unlike a rename, does not replace.
func write(dir string, p Pair) error {
	text, err := json.MarshalIndent(file{version, p, time.Now().UTC().Truncate(time.Second)}, "", "  ")
	if err != nil {
		return err
	}
	t, err := os.CreateTemp(dir, FileName+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	_, err = t.Write(append(text, '\n'))
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	if err := os.Link(t.Name(), filepath.Join(dir, FileName)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
