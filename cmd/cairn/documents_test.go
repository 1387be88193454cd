package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// The README's table of settings names every setting there is, no other, and its default.
func TestREADMEKnowsEverySetting(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "| setting | default | meaning |\n")
	require.True(t, found)
	defaults := make(map[string]string)
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(line, "|")
		for _, name := range code.FindAllStringSubmatch(cells[1], -1) {
			defaults[name[1]] = strings.Trim(strings.TrimSpace(cells[2]), "`")
		}
	}
	// Not flags, since a process list would show them.
	for _, secret := range []string{"root-user", "root-password", "metrics-token"} {
		require.Contains(t, defaults, secret)
		delete(defaults, secret)
	}
	newServer(nil).Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" || f.Name == "help" {
			return
		}
		want, ok := defaults[f.Name]
		require.True(t, ok, "README.md does not tell of %s", f.Name)
		delete(defaults, f.Name)
		switch f.Value.Type() {
		case "duration":
			a, err := time.ParseDuration(want)
			require.NoError(t, err, f.Name)
			b, err := time.ParseDuration(f.DefValue)
			require.NoError(t, err)
			require.Equal(t, b, a, f.Name)
		default:
			if value := strings.Trim(f.DefValue, "[]"); value != "" {
				require.Equal(t, value, want, f.Name)
			}
		}
	})
	delete(defaults, "---")
	require.Empty(t, defaults, "README.md tells of settings that are not there")
}
