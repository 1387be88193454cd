package container

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// libraryDirs are where loaders look without being told.
var libraryDirs = []string{"/lib64", "/usr/lib64", "/lib/*-linux-gnu*", "/usr/lib/*-linux-gnu*", "/lib", "/usr/lib"}

// libraries are the loader and the shared libraries that a binary needs, by their
// paths; none for a static one.
func libraries(binary string) (paths []string, err error) {
	seen := map[string]bool{}
	waiting := []string{binary}
	for len(waiting) > 0 {
		path := waiting[0]
		waiting = waiting[1:]
		loader, names, err := needs(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			found, err := findLibrary(name)
			if err != nil {
				return nil, fmt.Errorf("%s needs it: %w", path, err)
			}
			if !seen[found] {
				seen[found] = true
				paths, waiting = append(paths, found), append(waiting, found)
			}
		}
		if loader != "" && !seen[loader] {
			seen[loader] = true
			paths = append(paths, loader)
		}
	}
	return paths, nil
}

// needs reads what one file asks for.
func needs(path string) (loader string, names []string, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("%s is no program of Linux: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			if err != nil {
				return "", nil, fmt.Errorf("%s: %w", path, err)
			}
			loader = strings.TrimRight(string(text), "\x00")
		}
	}
	if names, err = f.ImportedLibraries(); err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, err)
	}
	return loader, names, nil
}

func findLibrary(name string) (string, error) {
	for _, pattern := range libraryDirs {
		paths, err := filepath.Glob(filepath.Join(pattern, name))
		if err != nil {
			return "", err
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("library %s is nowhere: %w", name, os.ErrNotExist)
}
