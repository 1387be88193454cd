package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Kept is a record and the file that it is kept in.
type Kept struct {
	Name string
	*Record
}

// files are the names of a directory's records, oldest first, for they begin with the
// time. A directory that is not there has none.
func files(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names, nil
}

// ReadAll reads all records of a directory, oldest first. A file that cannot be
// read is an error: a history with holes would be believed.
func ReadAll(dir string) ([]Kept, error) {
	names, err := files(dir)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("read records: %s holds none: %w", dir, os.ErrNotExist)
	}
	var all []Kept
	for _, name := range names {
		r, err := Read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, Kept{name, r})
	}
	slices.SortStableFunc(all, func(a, b Kept) int { return a.Started.Compare(b.Started) })
	return all, nil
}

// ErrAmbiguous: more than one record is meant.
var ErrAmbiguous = errors.New("more than one record matches")

// Find finds one record: by the path of its file, by a part of a file's name in
// dir that no other has (a time, a commit), or as "latest" or "latest-KIND".
func Find(dir, what string) (Kept, error) {
	if strings.HasSuffix(what, ".json") {
		if _, err := os.Stat(what); err == nil {
			r, err := Read(what)
			return Kept{what, r}, err
		}
	}
	names, err := files(dir)
	if err != nil {
		return Kept{}, fmt.Errorf("find record: %w", err)
	}
	part, latest := what, what == "latest"
	if kind, ok := strings.CutPrefix(what, "latest-"); ok {
		part, latest = "-"+kind+"-", true
	} else if latest {
		part = ""
	}
	var found []string
	for _, name := range names {
		if strings.Contains(filepath.Base(name), part) {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0:
		return Kept{}, fmt.Errorf("find record: none in %s is %q: %w", dir, what, os.ErrNotExist)
	case len(found) > 1 && !latest:
		return Kept{}, fmt.Errorf("find record: %q: %w: %s", what, ErrAmbiguous, strings.Join(bases(found), ", "))
	}
	name := found[len(found)-1]
	r, err := Read(name)
	return Kept{name, r}, err
}

func bases(names []string) (out []string) {
	for _, n := range names {
		out = append(out, filepath.Base(n))
	}
	return out
}
