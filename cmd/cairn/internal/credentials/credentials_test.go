package credentials

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMadeOnceAndReused(t *testing.T) {
	dir := t.TempDir()
	first, made, err := LoadOrMake(dir)
	require.NoError(t, err)
	require.True(t, made)
	require.NoError(t, first.Validate())

	info, err := os.Stat(filepath.Join(dir, FileName))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	again, made, err := LoadOrMake(dir)
	require.NoError(t, err)
	require.False(t, made)
	require.Equal(t, first, again)

	other, _, err := LoadOrMake(t.TempDir())
	require.NoError(t, err)
	require.NotEqual(t, first, other)

	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing temporary is left")
}

func TestRacingProcessesGetTheSame(t *testing.T) {
	dir := t.TempDir()
	pairs := make([]Pair, 16)
	var wg sync.WaitGroup
	for i := range pairs {
		wg.Go(func() {
			p, _, err := LoadOrMake(dir)
			if err == nil {
				pairs[i] = p
			}
		})
	}
	wg.Wait()
	for _, p := range pairs {
		require.NotEmpty(t, p.SecretKey)
		require.Equal(t, pairs[0], p)
	}
}

func TestRefusals(t *testing.T) {
	const good = `{"version":1,"access_key":"someone","secret_key":"something"}`
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       string
	}{
		{"readable by all", good, 0o604, "chmod 600"},
		{"damaged", good[:20], 0o600, "damaged"},
		{"empty", "", 0o600, "damaged"},
		{"of a later build", strings.Replace(good, "1", "2", 1), 0o600, "as new as"},
		{"short", strings.Replace(good, "something", "s", 1), 0o600, "8 to 256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, FileName)
			require.NoError(t, os.WriteFile(name, []byte(c.text), 0o600))
			require.NoError(t, os.Chmod(name, c.mode))
			_, _, err := LoadOrMake(dir)
			require.ErrorContains(t, err, c.want)
			after, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Equal(t, c.text, string(after), "what cannot be read is never replaced")
		})
	}
	_, err := Load(t.TempDir())
	require.ErrorIs(t, err, ErrNone)
}

// The file that version 1 wrote must be readable for ever.
func TestVersion1(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "v1.json"))
	require.NoError(t, err)
	p, err := parse("v1.json", text)
	require.NoError(t, err)
	require.Equal(t, Pair{"EXAMPLEACCESSKEY2345", "EXAMPLESECRETKEY234567EXAMPLESECRETKEY23"}, p)
}

func TestValidate(t *testing.T) {
	ok := func(user, password string) bool { return Pair{user, password}.Validate() == nil }
	require.True(t, ok("abc", "12345678"))
	require.True(t, ok("minioadmin", "minioadmin"))
	require.True(t, ok("user@example.com", "päss wörd"))
	require.False(t, ok("ab", "12345678"))
	require.False(t, ok("abc", "1234567"))
	require.False(t, ok("a/b", "12345678"))
	require.False(t, ok("a b", "12345678"))
	require.False(t, ok("añb", "12345678"))
	require.False(t, ok("abc", strings.Repeat("x", 257)))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"access_key":"someone","secret_key":"something"}`))
	f.Add([]byte(`{"version":1e99}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := parse("f", text); err == nil && p.Validate() != nil {
			t.Fatalf("accepted %+v", p)
		}
	})
}

// A link whose target is away, as a secret's that is not mounted yet, is told as that,
// and no other pair is made beside it.
func TestDanglingLink(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Symlink("/nowhere/pair.json", filepath.Join(dir, FileName)))
	_, _, err := LoadOrMake(dir)
	require.ErrorContains(t, err, "is a link to /nowhere/pair.json, where nothing is")
	require.NotErrorIs(t, err, ErrNone)
}
