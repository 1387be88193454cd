package pipelines

import (
	"io"
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

// A step is one command of a pipeline. Root: it runs as root, by sudo or as the
// user of a privileged container.
type step struct {
	file, job, command string
	root               bool
}

// asRoot is how a step of a runner with sudo becomes root: it keeps the
// environment and finds the same go.
const asRoot = `sudo -E env "PATH=$PATH" `

// A workflow is what our GitHub workflows use of the workflow syntax
// (docs.github.com/actions/reference/workflow-syntax); another key is an error.
type workflow struct {
	Name        string            `yaml:"name"`
	On          map[string]any    `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Concurrency struct {
		Group  string `yaml:"group"`
		Cancel bool   `yaml:"cancel-in-progress"`
	} `yaml:"concurrency"`
	Env  map[string]string    `yaml:"env"`
	Jobs map[string]githubJob `yaml:"jobs"`
}

type githubJob struct {
	If          string            `yaml:"if"`
	RunsOn      string            `yaml:"runs-on"`
	Timeout     int               `yaml:"timeout-minutes"`
	Permissions map[string]string `yaml:"permissions"`
	Steps       []struct {
		If   string            `yaml:"if"`
		Uses string            `yaml:"uses"`
		With map[string]any    `yaml:"with"`
		Run  string            `yaml:"run"`
		Env  map[string]string `yaml:"env"`
	} `yaml:"steps"`
}

// A pipeline is what ours uses of GitLab's (docs.gitlab.com/ci/yaml).
type pipeline struct {
	Workflow struct {
		Rules []rule `yaml:"rules"`
	} `yaml:"workflow"`
	Default struct {
		Image string `yaml:"image"`
	} `yaml:"default"`
	Stages    []string             `yaml:"stages"`
	Variables map[string]string    `yaml:"variables"`
	Jobs      map[string]gitlabJob `yaml:",inline"`
}

type rule struct {
	If string `yaml:"if"`
}

type gitlabJob struct {
	Stage     string            `yaml:"stage"`
	Needs     []string          `yaml:"needs"`
	Tags      []string          `yaml:"tags"`
	Rules     []rule            `yaml:"rules"`
	Timeout   string            `yaml:"timeout"`
	Resource  string            `yaml:"resource_group"`
	Variables map[string]string `yaml:"variables"`
	Script    []string          `yaml:"script"`
	Artifacts struct {
		When  string   `yaml:"when"`
		Paths []string `yaml:"paths"`
	} `yaml:"artifacts"`
}

func parse(t *testing.T, name string, into any) {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	require.NoError(t, d.Decode(into), name)
	require.ErrorIs(t, d.Decode(new(any)), io.EOF, "%s: one document", name)
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(top, ".github/workflows/*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]workflow{}
	for _, name := range files {
		var w workflow
		parse(t, name, &w)
		all[name] = w
	}
	return all
}

func gitlab(t *testing.T) (name string, p pipeline) {
	t.Helper()
	var root struct {
		Include []struct {
			Local string `yaml:"local"`
		} `yaml:"include"`
	}
	parse(t, filepath.Join(top, ".gitlab-ci.yml"), &root)
	require.Len(t, root.Include, 1)
	name = filepath.Join(top, root.Include[0].Local)
	parse(t, name, &p)
	return name, p
}

// steps are all commands of all pipelines.
func steps(t *testing.T) (all []step) {
	t.Helper()
	for name, w := range workflows(t) {
		for job, body := range w.Jobs {
			for _, s := range body.Steps {
				for line := range strings.Lines(s.Run) {
					if line = strings.TrimSpace(line); line != "" {
						command, root := strings.CutPrefix(line, asRoot)
						all = append(all, step{name, job, command, root})
					}
				}
			}
		}
	}
	name, p := gitlab(t)
	for job, body := range p.Jobs {
		for _, c := range body.Script {
			all = append(all, step{name, job, c, slices.Contains(body.Tags, "$PRIVILEGED_RUNNER")})
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

func TestWorkflowsAreWhole(t *testing.T) {
	events := []string{"push", "pull_request", "schedule", "workflow_dispatch"}
	for name, w := range workflows(t) {
		require.NotEmpty(t, w.Name, name)
		require.NotEmpty(t, w.On, name)
		for event := range w.On {
			require.Contains(t, events, event, name)
		}
		require.Equal(t, map[string]string{"contents": "read"}, w.Permissions, "%s: a job that writes says so itself", name)
		require.Equal(t, "true", w.Env["CI"], name)
		require.NotEmpty(t, w.Jobs, name)
		for job, body := range w.Jobs {
			// The newest image is another one some day, and ci/setup knows this one.
			require.Equal(t, "ubuntu-24.04", body.RunsOn, "%s: %s", name, job)
			require.Positive(t, body.Timeout, "%s: %s", name, job)
			require.NotEmpty(t, body.Steps, "%s: %s", name, job)
			for _, s := range body.Steps {
				require.NotEqual(t, s.Uses == "", s.Run == "", "%s: %s: a step uses or runs", name, job)
				if s.Uses != "" {
					require.Regexp(t, `^actions/[a-z-]+@v[0-9]+$`, s.Uses, "%s: %s", name, job)
				}
			}
		}
	}
	name, p := gitlab(t)
	require.NotEmpty(t, p.Workflow.Rules, name)
	require.NotEmpty(t, p.Default.Image, name)
	require.Equal(t, "true", p.Variables["CI"])
	for job, body := range p.Jobs {
		require.Contains(t, p.Stages, body.Stage, "%s: %s", name, job)
		require.NotEmpty(t, body.Timeout, "%s: %s", name, job)
		require.NotEmpty(t, body.Script, "%s: %s", name, job)
		require.NotEmpty(t, body.Rules, "%s: %s", name, job)
	}
}

// What needs rights has them: the tests are run as root by who has set up what
// they need, and who pushes records may. Nobody else.
func TestStepsHaveTheRightsThatTheyNeed(t *testing.T) {
	before := map[string]string{}
	tests := 0
	for _, s := range steps(t) {
		job := s.file + " " + s.job
		if s.command == "make test" {
			tests++
			require.True(t, s.root, "%s: the tests mount volumes and give them away", job)
			require.Equal(t, "make setup", before[job], "%s: nothing is installed", job)
		} else if !strings.Contains(s.file, "gitlab") {
			require.False(t, s.root, "%s: %s needs no root", job, s.command)
		}
		before[job] = s.command
	}
	require.Equal(t, 2, tests)

	publishes := func(file, job string) bool {
		return slices.ContainsFunc(steps(t), func(s step) bool {
			return s.file == file && s.job == job && s.command == "make nightly-publish"
		})
	}
	published := 0
	for name, w := range workflows(t) {
		for job, body := range w.Jobs {
			if !publishes(name, job) {
				require.Empty(t, body.Permissions, "%s: %s", name, job)
				continue
			}
			published++
			require.Equal(t, map[string]string{"contents": "write"}, body.Permissions, "%s: %s", name, job)
		}
	}
	name, p := gitlab(t)
	for job, body := range p.Jobs {
		if publishes(name, job) {
			published++
			require.Equal(t, "$CI_SERVER_URL/$CI_PROJECT_PATH.git", body.Variables["HISTORY_REMOTE"], "the address without the job's token, which may not push")
		}
	}
	require.Equal(t, 2, published)
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
