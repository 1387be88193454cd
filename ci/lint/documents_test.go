package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	link       = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)
	makeTarget = regexp.MustCompile("`make ([a-z0-9-]+)")
)

// documents calls f with each Markdown file of the repository.
func documents(t *testing.T, f func(path, text string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	n := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "data" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		f(path, string(text))
		return nil
	}))
	require.Greater(t, n, 5)
}

// A link to a file that is not there misleads whoever follows it.
func TestLinksLeadSomewhere(t *testing.T) {
	documents(t, func(path, text string) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			}
		}
	})
}

// A command that a document tells to run exists.
func TestMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join("..", "..", "Makefile"))
	require.NoError(t, err)
	more, err := filepath.Glob(filepath.Join("..", "make", "*.mk"))
	require.NoError(t, err)
	for _, name := range more {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		makefile = append(append(makefile, '\n'), text...)
	}
	documents(t, func(path, text string) {
		for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s tells to run make %s, which the Makefile does not know", path, m[1])
			}
		}
	})
}

// Every decision has the four parts that docs/decisions/README.md asks for.
func TestDecisionsAreWhole(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "decisions", "[0-9]*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	numbers := make(map[string]string)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, part := range []string{"**Context.**", "**Choice.**", "**Tried and dropped.**", "**Consequences.**"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s has no part %s", filepath.Base(page), part)
			}
		}
		number := filepath.Base(page)[:4]
		if other := numbers[number]; other != "" {
			t.Errorf("%s and %s have the same number", other, filepath.Base(page))
		}
		numbers[number] = filepath.Base(page)
	}
}

// A page that the index does not name is not found.
func TestEveryPageIsInItsIndex(t *testing.T) {
	for _, dir := range []string{filepath.Join("..", "..", "docs", "format")} {
		index, err := os.ReadFile(filepath.Join(dir, "README.md"))
		require.NoError(t, err)
		pages, err := filepath.Glob(filepath.Join(dir, "*.md"))
		require.NoError(t, err)
		for _, page := range pages {
			if name := filepath.Base(page); name != "README.md" && !strings.Contains(string(index), "("+name+")") {
				t.Errorf("%s is not in the index of its folder", name)
			}
		}
	}
}
