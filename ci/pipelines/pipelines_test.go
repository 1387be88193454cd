package pipelines

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const top = "../.."

// A step is one command of a pipeline.
type step struct{ file, job, command string }

func parse(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, yaml.Unmarshal(data, &out), name)
	return out
}

func strs(v any) (out []string) {
	switch v := v.(type) {
	case string:
		for line := range strings.Lines(v) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	case []any:
		for _, x := range v {
			out = append(out, strs(x)...)
		}
	}
	return out
}

// steps are all commands of all pipelines.
func steps(t *testing.T) (all []step) {
	t.Helper()
	github, err := filepath.Glob(filepath.Join(top, ".github/workflows/*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, github)
	for _, name := range github {
		jobs, ok := parse(t, name)["jobs"].(map[string]any)
		require.True(t, ok, name)
		for job, body := range jobs {
			list, ok := body.(map[string]any)["steps"].([]any)
			require.True(t, ok, "%s: %s", name, job)
			for _, s := range list {
				for _, c := range strs(s.(map[string]any)["run"]) {
					all = append(all, step{name, job, c})
				}
			}
		}
	}
	root := parse(t, filepath.Join(top, ".gitlab-ci.yml"))
	for _, include := range root["include"].([]any) {
		name := filepath.Join(top, include.(map[string]any)["local"].(string))
		for job, body := range parse(t, name) {
			fields, ok := body.(map[string]any)
			if !ok {
				continue
			}
			for _, field := range []string{"before_script", "script", "after_script"} {
				for _, c := range strs(fields[field]) {
					all = append(all, step{name, job, c})
				}
			}
		}
	}
	return all
}

// targets are the Makefile's, with those of the files that it includes.
func targets(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, "ci/make/*.mk"))
	require.NoError(t, err)
	rule := regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):([^=]|$)`)
	for _, name := range append(files, filepath.Join(top, "Makefile")) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, m := range rule.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
	}
	return all
}

func TestPipelinesCallMakeAndLabAlone(t *testing.T) {
	known := targets(t)
	seen := map[string]bool{}
	for _, s := range steps(t) {
		words := strings.Fields(s.command)
		seen[words[0]] = true
		switch words[0] {
		case "bin/lab": // its flags are checked beside the command, in cmd/lab
			require.NotContains(t, s.command, "|", s)
			require.NotContains(t, s.command, ";", s)
		case "make":
			for _, w := range words[1:] {
				if !strings.Contains(w, "=") {
					require.True(t, slices.Contains(known, w), "%s, %s: no make target %q", s.file, s.job, w)
				}
			}
		default:
			t.Errorf("%s, %s: %q is neither make nor lab", s.file, s.job, s.command)
		}
	}
	require.True(t, seen["make"] && seen["bin/lab"])
}

func TestBothPipelinesDoTheSame(t *testing.T) {
	var github, gitlab []string
	for _, s := range steps(t) {
		command := strings.Join(strings.Fields(s.command)[:2], " ")
		if strings.Contains(s.file, "gitlab") {
			gitlab = append(gitlab, command)
		} else {
			github = append(github, command)
		}
	}
	slices.Sort(github)
	slices.Sort(gitlab)
	require.Equal(t, github, gitlab)
}

// TestRecordsArePublishedOnceAndNeverReplaced runs the script on a repository
// with a remote of its own.
func TestRecordsArePublishedOnceAndNeverReplaced(t *testing.T) {
	script, err := filepath.Abs(filepath.Join(top, "ci/publish-records"))
	require.NoError(t, err)
	remote := filepath.Join(t.TempDir(), "remote.git")
	run := func(dir, name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
		return string(out)
	}
	run(t.TempDir(), "git", "init", "-q", "--bare", remote)
	clone := func(record, text string) string {
		dir := filepath.Join(t.TempDir(), "clone")
		run(t.TempDir(), "git", "clone", "-q", remote, dir)
		if _, err := exec.Command("git", "-C", dir, "rev-parse", "HEAD").Output(); err != nil {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "code"), []byte("x"), 0o600))
			run(dir, "git", "add", ".")
			run(dir, "git", "commit", "-q", "-m", "code")
			run(dir, "git", "push", "-q", "origin", "HEAD")
		}
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "results/runs"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "results/runs", record), []byte(text), 0o600))
		return dir
	}
	files := func() string { return run(remote, "git", "ls-tree", "-r", "--name-only", "history") }

	first := clone("1.json", "one")
	require.Contains(t, run(first, script), "on branch history")
	require.Equal(t, "results/runs/1.json\n", files(), "records alone")
	require.Contains(t, run(first, script), "nothing new")

	second := clone("2.json", "two")
	require.NoError(t, os.WriteFile(filepath.Join(second, "results/runs/1.json"), []byte("forged"), 0o600))
	run(second, script)
	require.Equal(t, "results/runs/1.json\nresults/runs/2.json\n", files())
	require.Equal(t, "one", run(remote, "git", "show", "history:results/runs/1.json"))

	third := clone("3.json", "three")
	run(third, script)
	got, err := os.ReadFile(filepath.Join(third, "results/runs/2.json"))
	require.NoError(t, err, "what was there is brought here")
	require.Equal(t, "two", string(got))
	require.Len(t, strings.Split(strings.TrimSpace(run(third, "git", "worktree", "list")), "\n"), 1)
}
