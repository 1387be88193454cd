package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// list asks the go command, whose build constraints and modules are the truth.
func list(t *testing.T, args ...string) []Package {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Name,Imports,Deps,Module"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var all []Package
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, p)
	}
}

// product is what is shipped.
var product = []string{"./engine", "./cmd/cairn"}

func TestImportLaw(t *testing.T) {
	all := list(t, "./...")
	require.Greater(t, len(all), 5, "the law looks at the whole module")
	for _, p := range all {
		for _, rule := range []func(Package) []string{downward, labStaysOutside, belongsToAHalf, seamsHold, namesSaySomething} {
			for _, breach := range rule(p) {
				t.Error(breach)
			}
		}
	}
}

func TestProductLinksOnlyWhatItMay(t *testing.T) {
	dirs := make(map[string]string)
	for _, p := range list(t, append([]string{"-deps"}, product...)...) {
		for _, breach := range productLinks(p) {
			t.Error(breach)
		}
		if p.Module != nil && !p.Module.Main {
			dirs[p.Module.Path] = p.Module.Dir
		}
	}
	require.NotEmpty(t, dirs)
	for module, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*"))
		require.NoError(t, err)
		found := false
		for _, name := range names {
			base := strings.ToUpper(filepath.Base(name))
			if !strings.HasPrefix(base, "LICENSE") && !strings.HasPrefix(base, "LICENCE") && !strings.HasPrefix(base, "COPYING") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				continue // a folder of licences of what the module contains
			}
			found = true
			for _, breach := range freeOfCopyleft(module, string(text)) {
				t.Error(breach)
			}
		}
		if !found {
			t.Errorf("the product links %s, which has no licence at its root: nobody may use it", module)
		}
	}
}

// Every rule must catch what it is there for.
func TestBreachesAreCaught(t *testing.T) {
	pkg := func(path string, imports ...string) Package {
		for i, imp := range imports {
			if p, ours := strings.CutPrefix(imp, "~/"); ours {
				imports[i] = Module + "/" + p
			}
		}
		return Package{ImportPath: Module + "/" + path, Name: filepath.Base(path), Imports: imports}
	}
	linked := func(module string) Package {
		p := Package{ImportPath: module + "/x"}
		p.Module = &struct {
			Path, Dir string
			Main      bool
		}{Path: module}
		return p
	}
	for _, c := range []struct {
		name string
		rule func(Package) []string
		p    Package
		want string // "" is lawful
	}{
		{"s3 calls object", downward, pkg("engine/s3", "~/engine/object", "~/engine/auth", "net/http"), ""},
		{"s3 reaches past object", downward, pkg("engine/s3", "~/engine/store"), "never sees how anything is stored"},
		{"upward", downward, pkg("engine/store", "~/engine/local"), "not S3"},
		{"to the top", downward, pkg("engine/disk", "~/engine"), "bottom"},
		{"peers", downward, pkg("engine/admin", "~/engine/s3"), "nothing that can be ill"},
		{"auth peers object", downward, pkg("engine/auth", "~/engine/object"), "who calls"},
		{"own folder", downward, pkg("engine/disk", "~/engine/disk/inner"), ""},
		{"folder imports its package", downward, pkg("engine/disk/pebblevfs", "~/engine/disk"), ""},
		{"folder is bound as its package is", downward, pkg("engine/disk/pebblevfs", "~/engine/store"), "bottom"},
		{"internal is for all", downward, pkg("engine/object", "~/engine/internal/checksum"), ""},
		{"internal imports nothing", downward, pkg("engine/internal/clock", "~/engine/disk"), "leaves"},
		{"new package", downward, pkg("engine/novelty"), "has no layer"},
		{"the product imports the lab", downward, pkg("engine/s3", "~/harness/load"), "never imports the lab"},
		{"the product imports the pipeline", downward, pkg("cmd/cairn", "~/ci/lint"), "never imports the lab"},
		{"the lab imports the engine", labStaysOutside, pkg("harness/load", "~/engine/object"), "over the wire"},
		{"the lab signs", labStaysOutside, pkg("harness/load", "~/engine/auth/sign"), ""},
		{"the lab imports itself", labStaysOutside, pkg("cmd/lab", "~/harness/load"), ""},
		{"no half", belongsToAHalf, pkg("cmd/novelty"), "neither to the product nor to the lab"},
		{"a half", belongsToAHalf, pkg("engine/s3"), ""},
		{"os in object", seamsHold, pkg("engine/object", "os"), "every byte of data"},
		{"system calls in store", seamsHold, pkg("engine/store", "golang.org/x/sys/unix"), "every byte of data"},
		{"os in disk", seamsHold, pkg("engine/disk", "os"), ""},
		{"os in a command", seamsHold, pkg("cmd/cairn", "os"), ""},
		{"pebble in local", seamsHold, pkg("engine/local", "github.com/cockroachdb/pebble/v2/sstable"), "view inside the store"},
		{"metrics in s3", seamsHold, pkg("engine/s3", "github.com/prometheus/client_golang/prometheus"), "one registry"},
		{"test code in the engine", seamsHold, pkg("engine/local", "~/engine/backend/memory"), "linked into tests only"},
		{"profiles by import", seamsHold, pkg("cmd/cairn", "net/http/pprof"), "default mux"},
		{"util", namesSaySomething, pkg("engine/util"), "says nothing"},
		{"util in the middle", namesSaySomething, pkg("engine/common/clock"), "says nothing"},
		{"a good name", namesSaySomething, pkg("engine/committer"), ""},
		{"k6", productLinks, linked("go.k6.io/k6"), "AGPL"},
		{"an SDK's module", productLinks, linked("github.com/aws/aws-sdk-go-v2/service/s3"), "clients"},
		{"containers", productLinks, linked("github.com/testcontainers/testcontainers-go"), "for tests"},
		{"pebble", productLinks, linked("github.com/cockroachdb/pebble/v2"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			breaches := c.rule(c.p)
			if c.want == "" {
				require.Empty(t, breaches)
				return
			}
			require.Len(t, breaches, 1)
			require.Contains(t, breaches[0], c.want)
		})
	}
	require.NotEmpty(t, freeOfCopyleft("m", "                    GNU AFFERO GENERAL PUBLIC\n LICENSE\n Version 3"))
	require.Empty(t, freeOfCopyleft("m", "Apache License\nVersion 2.0"))
}

func TestEveryRuleHasAReason(t *testing.T) {
	var reasons []string
	for _, l := range slices.Concat(layers, labMayImport) {
		reasons = append(reasons, l.reason)
		for _, m := range l.may {
			require.NotNil(t, ownLayer(m), "%s may import %s, which is no layer", l.path, m)
		}
	}
	for _, s := range seams {
		reasons = append(reasons, s.reason)
	}
	for _, n := range neverLinked {
		reasons = append(reasons, n.reason)
	}
	for _, r := range reasons {
		require.NotEmpty(t, r)
	}
}
