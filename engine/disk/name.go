package disk

import (
	"io/fs"
	"path"
	"strings"
)

// cleanName returns name without redundant slashes and dots; "" and "." are
// the root. A name that is absolute, holds a NUL, or steps up by ".." anywhere
// is refused, also where it would end up within the root: no caller of ours
// makes such a name on purpose.
func cleanName(op, name string) (string, error) {
	if strings.HasPrefix(name, "/") || strings.IndexByte(name, 0) >= 0 {
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	for rest, more := name, true; more; {
		var element string
		element, rest, more = strings.Cut(rest, "/")
		if element == ".." {
			return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
		}
	}
	return path.Clean(name), nil
}

// cleanEntry is cleanName for operations that make no sense on the root itself.
func cleanEntry(op, name string) (string, error) {
	clean, err := cleanName(op, name)
	if err == nil && clean == "." {
		err = &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return clean, err
}
