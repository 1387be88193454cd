package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The functional tests of minio-go are a program of its own module. Ours
// takes the place of its main function and runs each test apart, so that one
// that fails hides no other.

// miniogoEdits are all that is changed in them. The last three take out of many
// tests the one request that is not built yet, so that the rest of each runs.
var miniogoEdits = map[string]string{
	"//go:build mint\n":                             "", // the tag would break the library itself
	"\nfunc main() {":                               "\nfunc _() {",
	", ObjectLocking: true":                         "",                                              // versioning is what these tests look at, and turn on themselves
	`ignore2026Checksums = runtime.GOOS != "linux"`: `ignore2026Checksums = runtime.GOOS == "linux"`, // MD5, SHA-512 and XXHash as checksums: their own way to leave them out,
	`er.Code == "InvalidArgument"`:                  `er.Code == "NotImplemented"`,                   // by the code that we refuse them with
}

const miniogoMain = `package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

type record struct{ Name, Status, Reason string; Seconds float64 }

// outcome gathers what a test logs of itself: the last word holds, but for a failure, which stays.
type outcome struct{ status, reason string }

func (o *outcome) Write(p []byte) (int, error) {
	var l struct{ Status, Alert, Message, Error string }
	if json.Unmarshal(p, &l) == nil && l.Status != "" && o.status != "FAIL" {
		o.status, o.reason = l.Status, strings.TrimSpace(l.Alert+" "+l.Message+" "+l.Error)
	}
	return len(p), nil
}

func run(name string, test func()) (r record) {
	o, begin := &outcome{}, time.Now()
	slog.SetDefault(slog.New(slog.NewJSONHandler(o, nil)))
	defer func() {
		r = record{name, o.status, o.reason, time.Since(begin).Seconds()}
		if p := recover(); p != nil && o.status != "FAIL" {
			r.Status, r.Reason = "FAIL", fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		} else if r.Status == "" {
			r.Status = "PASS" // one of them says nothing of its success, and panics otherwise
		}
	}()
	test()
	return r
}

func main() {
	tests := map[string]func(){ TESTS }
	out := json.NewEncoder(os.Stdout)
	for _, name := range os.Args[1:] {
		out.Encode(run(name, tests[name]))
	}
}
`

// buildMiniogo builds the program and returns the names of its tests.
func buildMiniogo(t *testing.T) (program string, tests []string) {
	t.Helper()
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/minio/minio-go/v7")
	dir, err := list.Output()
	require.NoError(t, err)
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "functional_tests.go"))
	require.NoError(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
	require.NoError(t, err)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || f.Name.Name != "main" {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name, ok := call.Fun.(*ast.Ident); ok && strings.HasPrefix(name.Name, "test") && !slices.Contains(tests, name.Name) {
					tests = append(tests, name.Name)
				}
			}
			return true
		})
	}
	require.Greater(t, len(tests), 50)

	// A module of its own with this one's versions.
	tmp := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		require.NoError(t, err)
		write(t, tmp, name, string(text))
	}
	edited := string(source)
	for from, to := range miniogoEdits {
		require.Contains(t, edited, from)
		edited = strings.ReplaceAll(edited, from, to)
	}
	write(t, tmp, "functional.go", edited)
	var entries strings.Builder
	for _, name := range tests {
		fmt.Fprintf(&entries, "%q: %s,\n", name, name)
	}
	write(t, tmp, "main.go", strings.Replace(miniogoMain, "TESTS", entries.String(), 1))
	program = filepath.Join(tmp, "functional")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = tmp
	build.Env = append(os.Environ(), "GOWORK=off")
	text, err := build.CombinedOutput()
	require.NoError(t, err, string(text))
	return program, tests
}

// expectations reads which tests do not pass, and why.
func expectations(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "minio-go.txt"))
	require.NoError(t, err)
	reasons := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, reason, ok := strings.Cut(line, ": ")
		require.True(t, ok && reason != "", "%q has no reason", line)
		require.NotContains(t, reasons, name)
		reasons[name] = reason
	}
	return reasons
}

// TestMinioGoFunctional runs all of minio-go's functional tests. Those that
// testdata/minio-go.txt names must not pass, and all others must.
func TestMinioGoFunctional(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs another module's tests: minutes")
	}
	program, tests := buildMiniogo(t)
	reasons := expectations(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate(t, cert, key, 1)
	p := start(t, filepath.Join(dir, "data"), nil, "--tls-cert", cert, "--tls-key", key)
	k := p.keys()
	cmd := exec.Command(program, tests...)
	cmd.Dir = dir // some tests leave files where they run
	cmd.Env = []string{
		"HOME=" + dir, "TMPDIR=" + dir, "PATH=/usr/bin:/bin", "MINT_MODE=full", "SERVER_ENDPOINT=" + p.address,
		"ACCESS_KEY=" + k.AccessKey, "SECRET_KEY=" + k.SecretKey, "ENABLE_HTTPS=1", "SKIP_CERT_VALIDATION=1",
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	began := time.Now()
	text, err := cmd.Output()
	require.NoError(t, err, errOut.String())
	passed := 0
	for d := json.NewDecoder(bytes.NewReader(text)); d.More(); {
		var r struct {
			Name, Status, Reason string
			Seconds              float64
		}
		require.NoError(t, d.Decode(&r))
		t.Logf("%-5s %6.2f s  %s  %s", r.Status, r.Seconds, r.Name, r.Reason)
		reason, listed := reasons[r.Name]
		switch {
		case r.Status == "PASS" && listed:
			t.Errorf("%s passes: strike it from testdata/minio-go.txt, where it does not (%s)", r.Name, reason)
		case r.Status != "PASS" && !listed:
			t.Errorf("%s: %s %s", r.Name, r.Status, r.Reason)
		case r.Status == "PASS":
			passed++
		}
		delete(reasons, r.Name)
	}
	require.Empty(t, reasons, "named in testdata/minio-go.txt, but not in minio-go")
	t.Logf("%d of %d tests pass, in %v", passed, len(tests), time.Since(began))
}
