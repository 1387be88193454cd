package pipelines

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A distribution is a place for ci/setup to run in, with an apt that has some
// packages and installs them by making their programs.
type distribution struct {
	t    *testing.T
	dir  string // bin: all there is; ci/setup: the script
	said string
}

// newDistribution is a machine on which nothing is installed. The policy of apt is
// a line of shell for each package that is none or no real one.
func newDistribution(t *testing.T, policy string) *distribution {
	t.Helper()
	d := &distribution{t: t, dir: t.TempDir()}
	for _, dir := range []string{"bin", "ci", "harness/xk6"} {
		require.NoError(t, os.MkdirAll(filepath.Join(d.dir, dir), 0o755))
	}
	for _, tool := range []string{"bash", "env", "dirname", "mkdir", "cat", "sleep", "touch", "chmod"} {
		path, err := exec.LookPath(tool)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(d.dir, "bin", tool)))
	}
	script, err := os.ReadFile(filepath.Join(top, "ci/setup"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "ci/setup"), script, 0o755))
	d.program("id", "echo 0")
	d.program("docker", "")
	d.program("go", `if [ "$1" = install ]; then n="${2%@*}"; touch "$GOBIN/${n##*/}"; chmod +x "$GOBIN/${n##*/}"; fi`)
	d.program("apt-cache", `case "$2" in `+policy+` *) echo "  Candidate: 1.0-1";; esac`)
	// One unknown name, and apt-get installs nothing.
	d.program("apt-get", `echo "apt-get $*" >>apt.log
[ "$1" = install ] || exit 0
for p in "$@"; do case "$p" in
  rclone|s3fs|redis-server|strace|chromium) t=$p;; fuse3) t=fusermount3;; awscli) t=aws;; *) continue;; esac
  case "$(apt-cache policy "$p")" in *none*|*snap*) exit 100;; esac
  touch "`+d.dir+`/bin/$t"; chmod +x "`+d.dir+`/bin/$t"
done`)
	return d
}

func (d *distribution) program(name, text string) {
	d.t.Helper()
	require.NoError(d.t, os.WriteFile(filepath.Join(d.dir, "bin", name), []byte("#!/usr/bin/env bash\n"+text+"\n"), 0o755))
}

func (d *distribution) setup(ci string, args ...string) (status int) {
	d.t.Helper()
	cmd := exec.Command(filepath.Join(d.dir, "ci/setup"), args...)
	cmd.Dir = d.dir
	cmd.Env = []string{"PATH=" + filepath.Join(d.dir, "bin"), "CI=" + ci}
	out, _ := cmd.CombinedOutput()
	d.said = string(out)
	return cmd.ProcessState.ExitCode()
}

const noble = `awscli) echo "  Candidate: (none)";; chromium) echo "  Candidate: 2:1snap1-0ubuntu2";;`

// What apt does not have is named with who needs it, and keeps nothing else from
// being installed.
func TestSetupInstallsWhatThereIsAndNamesTheRest(t *testing.T) {
	d := newDistribution(t, noble)
	require.Equal(t, 1, d.setup("true"), d.said)
	require.Regexp(t, `(?m)^setup: MISSING awscli: apt has no such package here.*: aws; needed by cmd/cairn TestAWSCommandLine$`, d.said)
	require.Regexp(t, `(?m)^setup: MISSING chromium: .*google-chrome, .*; needed by harness/browser TestInABrowser$`, d.said)
	require.Contains(t, d.said, "setup: FAILED: CI=true")
	require.NotContains(t, d.said, "MISSING rclone")
	for _, there := range []string{"rclone", "s3fs", "fusermount3", "redis-server", "strace"} {
		require.FileExists(t, filepath.Join(d.dir, "bin", there))
	}
	require.FileExists(t, filepath.Join(d.dir, ".tools/mc"))

	require.Equal(t, 0, d.setup("false"), "at a desk what is there is run: %s", d.said)
	require.Contains(t, d.said, "is SKIPPED")
	require.Equal(t, 1, d.setup("true", "--check"), d.said)
	require.Equal(t, 0, d.setup("false", "--check"), d.said)
	require.Contains(t, d.said, "MISSING awscli: make setup installs it where apt has it")
	require.NotContains(t, d.said, "MISSING rclone")

	// From elsewhere, they count.
	d.program("aws", "")
	d.program("google-chrome", "")
	d.setup("true")
	require.NotContains(t, d.said, "MISSING awscli")
	require.NotContains(t, d.said, "MISSING chromium")
}

func TestSetupWhereAptHasAll(t *testing.T) {
	d := newDistribution(t, "")
	d.setup("true")
	require.Contains(t, d.said, "setup: installing rclone s3fs fuse3 awscli")
	require.NotContains(t, d.said, "MISSING awscli")
	require.NotContains(t, d.said, "MISSING chromium")
}

func TestSetupWithoutRights(t *testing.T) {
	d := newDistribution(t, "")
	d.program("id", "echo 1000")
	require.Equal(t, 1, d.setup("true"), d.said)
	require.Contains(t, d.said, "MISSING rclone: installing it takes apt-get, and root or sudo without a password; needed by cmd/cairn TestRcloneCopiesARealTree")
	require.NoFileExists(t, filepath.Join(d.dir, "apt.log"))
}
