package pipelines

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server that asks for a token, as GitLab does, gets the one of HISTORY_TOKEN;
// without it the script fails and says what is missing.
func TestRecordsArePublishedWithAToken(t *testing.T) {
	script, err := filepath.Abs(filepath.Join(top, "ci/publish-records"))
	require.NoError(t, err)
	core, err := exec.Command("git", "--exec-path").Output()
	require.NoError(t, err)
	backend := filepath.Join(strings.TrimSpace(string(core)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skipf("SKIPPED: this git serves no HTTP: %v", err)
	}
	root := t.TempDir()
	git := func(dir string, args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@t")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "git %v: %s", args, out)
		return string(out)
	}
	git(root, "init", "-q", "--bare", "r.git")
	git(filepath.Join(root, "r.git"), "config", "http.receivepack", "true")
	serve := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		serve.ServeHTTP(w, r)
	}))
	defer server.Close()

	tree := t.TempDir()
	git(tree, "init", "-q")
	git(tree, "commit", "-q", "--allow-empty", "-m", "code")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "results/runs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "results/runs/1.json"), []byte("one"), 0o600))
	publish := func(token string) (string, error) {
		cmd := exec.Command(script, "history", server.URL+"/r.git")
		cmd.Dir = tree
		cmd.Env = append(os.Environ(), "HISTORY_TOKEN="+token, "HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.NotContains(t, string(out), "secret")
		return string(out), err
	}
	for _, wrong := range []string{"", "other"} {
		out, err := publish(wrong)
		require.Error(t, err, out)
		require.Contains(t, out, "a token in the variable HISTORY_TOKEN")
	}
	out, err := publish("secret")
	require.NoError(t, err, out)
	require.NotContains(t, git(tree, "branch", "--all"), "history", "no branch is left here")
	require.Equal(t, "results/runs/1.json\n", git(filepath.Join(root, "r.git"), "ls-tree", "-r", "--name-only", "history"))
}
