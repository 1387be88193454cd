package main

import (
	"bytes"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/cmd/cairn/internal/config"
	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
)

var update = flag.Bool("update", false, "write the golden files anew")

// inProcess runs a command that starts nothing.
func inProcess(args ...string) ran {
	var out, errOut bytes.Buffer
	code := run(args, nil, &out, &errOut)
	return ran{code, out.String(), errOut.String()}
}

func TestHelpIsAsReviewed(t *testing.T) {
	for name, args := range map[string][]string{
		"help": {"help"}, "server": {"server", "--help"}, "credentials": {"credentials", "show", "--help"}, "version": {"version", "--help"}, "hardware": {"hardware", "--help"},
		"store": {"store", "--help"}, "store-check": {"store", "check", "--help"}, "store-rebuild": {"store", "rebuild", "--help"}, "store-stat": {"store", "stat", "--help"},
		"cache-stat": {"cache", "stat", "--help"}, "cache-warm": {"cache", "warm", "--help"},
	} {
		got := inProcess(args...)
		require.Equal(t, exitOK, got.code, got.errOut)
		golden := filepath.Join("testdata", "help-"+name+".txt")
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(got.out), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), got.out, "go test ./cmd/cairn -run Help -update writes it anew")
	}
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	damaged := t.TempDir()
	write(t, damaged, credentials.FileName, "{")
	notADirectory := write(t, t.TempDir(), "file", "")
	for _, c := range []struct {
		args string
		code int
		want string // on stderr
	}{
		{"", exitOK, ""},
		{"version", exitOK, ""},
		{"frobnicate", exitUsage, "there is no command"},
		{"sever", exitUsage, "did you mean server?"},
		{"help", exitOK, ""},
		{"help store check", exitOK, ""},
		{"help sever", exitUsage, "did you mean server?"},
		{"help store chek", exitUsage, "did you mean check?"},
		{"help version now", exitUsage, "there is no command"},
		{"credentials hide", exitUsage, "there is no command"},
		{"version now", exitUsage, "takes no arguments"},
		{"server --frobnicate", exitUsage, "unknown flag"},
		{"server", exitUsage, "--data ./data"},
		{"server DIR", exitUsage, "takes no arguments"},
		{"server --data a --data b", exitUsage, "erasure coding"},
		{"server --data " + dir + " --memory-limit lots", exitUsage, "memory-limit"},
		{"server --data " + dir + " --memory-limit 1000TiB", exitUsage, "say --memory-limit off"},
		{"server --data " + dir + " --cache lots", exitUsage, "cache"},
		{"server --data " + dir + " --idle-timeout soon", exitUsage, "idle-timeout"},
		{"server --data " + dir + " --config /nowhere/cairn.yaml", exitUsage, "no such file"},
		{"server --data " + damaged, exitFailure, "damaged"},
		{"server --data " + dir + " --address nonsense", exitUsage, "must be host:port"},
		{"server --data " + notADirectory + " --address 127.0.0.1:0", exitFailure, "not a directory"},
		{"credentials show", exitUsage, "--data ./data"},
		{"credentials show --data " + t.TempDir(), exitFailure, "on its first start"},
		{"store chek " + dir, exitUsage, "did you mean check?"},
		{"store check", exitUsage, "needs a data directory"},
		{"store check a b", exitUsage, "takes one data directory"},
		{"store check " + filepath.Join(dir, "nowhere"), exitUsage, "there is no directory"},
		{"store stat " + notADirectory, exitUsage, "not a directory"},
		{"store check " + dir, exitFailure, "there is no store here"},
		{"store rebuild " + dir, exitFailure, "there is no store here"},
		{"store stat " + dir, exitFailure, "there is no store here"},
		{"credentials show --json --env --data " + dir, exitUsage, "exclude each other"},
	} {
		t.Run(c.args, func(t *testing.T) {
			got := runCairn(t, strings.Fields(c.args)...)
			require.Equal(t, c.code, got.code, got.errOut)
			require.Contains(t, got.errOut, c.want)
			if c.code == exitOK {
				require.Empty(t, got.errOut)
			}
		})
	}
}

func TestShortPasswordIsRefused(t *testing.T) {
	cmd := cairn("server", "--data", t.TempDir())
	cmd.Env = append(cmd.Env, "CAIRN_ROOT_USER=owner", "CAIRN_ROOT_PASSWORD=short")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	_ = cmd.Run()
	require.Equal(t, exitUsage, cmd.ProcessState.ExitCode())
	require.Contains(t, errOut.String(), "8 to 256 characters")
	require.NotContains(t, errOut.String(), "short")
}

func TestCredentialsShow(t *testing.T) {
	dir := t.TempDir()
	p, _, err := credentials.LoadOrMake(dir)
	require.NoError(t, err)
	require.Equal(t, "access key  "+p.AccessKey+"\nsecret key  "+p.SecretKey+"\n", inProcess("credentials", "show", "--data", dir).out)
	require.JSONEq(t, `{"access_key":"`+p.AccessKey+`","secret_key":"`+p.SecretKey+`"}`, inProcess("credentials", "show", "--data", dir, "--json").out)
	require.Equal(t, "export AWS_ACCESS_KEY_ID='"+p.AccessKey+"'\nexport AWS_SECRET_ACCESS_KEY='"+p.SecretKey+"'\n", inProcess("credentials", "show", "--data", dir, "--env").out)
}

func TestShellQuote(t *testing.T) {
	require.Equal(t, `'it'\''s $HOME'`, shellQuote("it's $HOME"))
}

func TestVersion(t *testing.T) {
	require.Contains(t, inProcess("version").out, "cairn dev (commit ")
	require.Contains(t, inProcess("version", "--json").out, `"version":"dev"`)
}

// A server that was given credentials does not print them.
func TestGreetingKeepsSecrets(t *testing.T) {
	keys := credentials.Pair{AccessKey: "owner", SecretKey: "the secret itself"}
	for _, c := range []struct {
		name     string
		settings config.Settings
		made     bool
		terminal bool
		shown    bool
	}{
		{"made now", config.Settings{Data: []string{"d"}}, true, true, true},
		{"made now, into a log", config.Settings{Data: []string{"d"}}, true, false, false},
		{"made before", config.Settings{Data: []string{"d"}}, false, true, false},
		{"given", config.Settings{Data: []string{"d"}, RootUser: "owner"}, false, true, false},
	} {
		var out bytes.Buffer
		greet(&out, "cairn", "http://127.0.0.1:9000", &c.settings, keys, c.made, c.terminal)
		require.Equal(t, c.shown, strings.Contains(out.String(), keys.SecretKey), c.name)
		require.Contains(t, out.String(), "http://127.0.0.1:9000")
	}
}

func TestGateBeforeTheEngineIsOpen(t *testing.T) {
	var g gate
	ask := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	require.Equal(t, 200, ask("/health/live").Code)
	g.domains = []string{"S3.example.com"}
	of := func(method, host string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/health/live", strings.NewReader("data"))
		r.Host = host
		g.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, 200, of("HEAD", "s3.example.com:9000"))
	require.Equal(t, 503, of("PUT", "s3.example.com"), "nothing is stored")
	require.Equal(t, 503, of("GET", "photos.s3.example.com:9000"), "a key, and not its bytes")
	require.Equal(t, 503, ask("/health/ready").Code)
	require.Equal(t, 503, ask("/photos").Code)
	require.Equal(t, "1", ask("/photos").Header().Get("Retry-After"))
	require.Contains(t, ask("/photos").Body.String(), "<Code>ServiceUnavailable</Code>")
	g.open(http.NotFoundHandler())
	require.Equal(t, 404, ask("/photos").Code)
	require.True(t, g.emptied(0))
	g.inside.Add(1)
	require.False(t, g.emptied(0))
}
