package lint

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the root module's path.
const Module = "github.com/cairnstore/cairn"

// A Package is what `go list -json` says of one, as far as the law asks.
type Package struct {
	ImportPath string
	Name       string
	Imports    []string // of its non-test files
	Deps       []string // all packages linked with it
	Module     *struct {
		Path, Dir string
		Main      bool
	}
}

// rel is a package's path in the module, and whether it is there at all.
func rel(importPath string) (string, bool) {
	if importPath == Module {
		return "", true
	}
	return strings.CutPrefix(importPath, Module+"/")
}

// within reports whether path is dir or lies under it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

func withinAny(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return within(path, d) })
}

// A layer says what a package (and those in its folders) may import of this
// module. What is not listed is forbidden: imports run strictly downward, and
// peers never import each other.
type layer struct {
	path   string
	may    []string
	reason string
}

// layers of the product, top to bottom. The longest path that matches is a
// package's own. Folders of a package may import it and be imported by it.
var layers = []layer{
	{"cmd/cairn", []string{"engine", "engine/listen", "engine/telemetry", "engine/store", "engine/disk", "engine/arena", "engine/numa", "engine/procs"},
		"the binary wires sockets and settings to the engine; `cairn store` works on a directory without an engine, and `cairn hardware` looks at the machine"},
	{"engine", []string{"engine/s3", "engine/admin", "engine/auth", "engine/object", "engine/local", "engine/backend", "engine/store", "engine/cache", "engine/cache/tiers", "engine/cache/flash", "engine/cache/remote", "engine/cache/prefetch", "engine/readahead", "engine/worker", "engine/disk", "engine/telemetry", "engine/internal"},
		"engine opens and wires all layers, and nothing below may know it"},
	{"engine/s3", []string{"engine/auth", "engine/object", "engine/internal"},
		"the wire asks who calls and then calls object.API; it never sees how anything is stored"},
	{"engine/admin", nil,
		"health and metrics come in as functions, so that operators' endpoints depend on nothing that can be ill"},
	{"engine/listen", []string{"engine/internal"},
		"sockets serve any http.Handler"},
	{"engine/auth", []string{"engine/internal"},
		"who calls is decided without looking at what is stored"},
	{"engine/object", []string{"engine/backend", "engine/internal"},
		"what an operation means is the same on one machine and on many"},
	{"engine/local", []string{"engine/store", "engine/backend", "engine/disk", "engine/internal"},
		"the backend on one machine is a thin translation between backend's types and the store"},
	{"engine/store", []string{"engine/backend", "engine/cache", "engine/cache/tiers", "engine/disk", "engine/internal"},
		"the store knows drives and records, not S3; it speaks backend's types, which lie below both, and keeps what it read in the cache"},
	{"engine/readahead", []string{"engine/cache/prefetch", "engine/disk", "engine/internal"},
		"what comes next is predicted below it, and fetched by functions that it is given"},
	{"engine/backend", []string{"engine/internal"},
		"types shared by object and its backends lie below all of them"},
	{"engine/cache", []string{"engine/arena", "engine/internal"},
		"a cache keeps bytes under keys; what they mean is the business of those who fill and invalidate it"},
	{"engine/cache/tiers", []string{"engine/cache", "engine/internal"},
		"it puts tiers under memory, whatever they are: it is handed them"},
	{"engine/cache/flash", []string{"engine/disk", "engine/internal"},
		"a tier keeps opaque keys and values on a drive; which of them, and when, is decided above it"},
	{"engine/cache/remote", []string{"engine/internal"},
		"a tier keeps opaque keys and values in another process; it knows no tier beside it"},
	{"engine/cache/prefetch", []string{"engine/disk", "engine/internal"},
		"it tells what may be asked for next, and fetches nothing"},
	{"engine/disk", []string{"engine/internal"},
		"the seam to the drive is the bottom"},
	{"engine/worker", []string{"engine/numa", "engine/internal"},
		"workers know the nodes that they run on, and nothing of the work"},
	{"engine/arena", []string{"engine/numa", "engine/internal"},
		"memory outside Go's heap knows the nodes that it is on, and nothing of what is kept in it"},
	{"engine/numa", []string{"engine/internal"},
		"which CPUs are near which memory is a fact of the machine, at the bottom"},
	{"engine/procs", nil,
		"how many threads run Go is for main to say, and nobody's business below it"},
	{"engine/telemetry", nil,
		"it is told, it never asks: what it reports on may not be an import of it"},
	{"engine/internal", nil,
		"leaves: what all may use may use nothing but its like"},
}

// labs are the folders of the lab, which reaches a store over the wire alone,
// so that a rival is measured exactly as Cairn is.
var labs = []string{"cmd/lab", "cmd/enginebench", "harness", "scenarios", "chaos", "regressions", "results", "hardware"}

// labMayImport names what of the product a package of the lab may import nevertheless.
var labMayImport = []layer{
	{"harness", []string{"engine/auth/sign"}, "signing a request is the client's half of the protocol; a load generator needs it as lean as it gets"},
	{"harness/probe", []string{"engine/numa", "engine/arena"}, "a machine's nodes and huge pages are read and mapped as the product does, so that a profile says what the product will get"},
	{"cmd/enginebench", []string{"engine", "engine/procs"}, "it measures the engine in process, at rates that no wire can carry"},
	{"regressions/proxies", []string{"engine"}, "allocations, syncs and bytes are counted in process, over a drive in memory: no wire shows them to the digit"},
	{"regressions/repro", []string{"engine"}, "a bug whose cost can be counted is counted in process, where no noise can hide it"},
}

func ownLayer(path string) *layer {
	var own *layer
	for i := range layers {
		if l := &layers[i]; within(path, l.path) && (own == nil || len(l.path) > len(own.path)) {
			own = l
		}
	}
	return own
}

// downward checks the layers.
func downward(p Package) (breaches []string) {
	path, ok := rel(p.ImportPath)
	if !ok || !withinAny(path, []string{"engine", "cmd/cairn"}) {
		return nil
	}
	own := ownLayer(path)
	if own.path == "engine" && path != "engine" {
		return []string{fmt.Sprintf("%s has no layer: give it a line in ci/lint/law.go that says what it may import, and why", path)}
	}
	for _, imp := range p.Imports {
		to, ok := rel(imp)
		if !ok {
			continue
		}
		target := ownLayer(to)
		if target == nil {
			breaches = append(breaches, fmt.Sprintf("%s imports %s: the product never imports the lab or the pipeline, or they would be shipped with it", path, to))
			continue
		}
		if target == own || slices.Contains(own.may, target.path) {
			continue
		}
		breaches = append(breaches, fmt.Sprintf("%s imports %s: %s", path, to, own.reason))
	}
	return breaches
}

// labStaysOutside checks that the lab measures the product from outside.
func labStaysOutside(p Package) (breaches []string) {
	path, ok := rel(p.ImportPath)
	if !ok || !withinAny(path, labs) {
		return nil
	}
	for _, imp := range p.Imports {
		to, ok := rel(imp)
		if !ok || !withinAny(to, []string{"engine", "cmd/cairn"}) {
			continue
		}
		if !slices.ContainsFunc(labMayImport, func(l layer) bool { return within(path, l.path) && withinAny(to, l.may) }) {
			breaches = append(breaches, fmt.Sprintf("%s imports %s: the lab reaches a store over the wire, so that a rival is measured exactly as Cairn is", path, to))
		}
	}
	return breaches
}

// belongsToAHalf checks that a package is the product's, the lab's or the
// pipeline's: what is none of them, no other rule would look at.
func belongsToAHalf(p Package) []string {
	path, ok := rel(p.ImportPath)
	if !ok || withinAny(path, []string{"engine", "cmd/cairn", "ci"}) || withinAny(path, labs) {
		return nil
	}
	return []string{fmt.Sprintf("%s belongs neither to the product nor to the lab: name it in ci/lint/law.go", path)}
}

// A seam gives one import to few packages.
type seam struct {
	imports []string
	only    []string // the packages, each with those in its folders
	within  string   // where the rule holds; "" is everywhere
	reason  string
}

var seams = []seam{
	{[]string{"os", "io/ioutil", "syscall", "golang.org/x/sys/unix"},
		[]string{"engine/disk", "engine/listen", "engine/arena", "engine/numa", "engine/procs", "engine/cache/internal/pin", "engine/cache/remote/redistest"}, "engine",
		"every byte of data passes package disk, where a test can crash it and make it fail; engine/listen reads certificates (and names errors of sockets), engine/procs reads GOMAXPROCS, engine/arena and engine/numa ask the system for memory, its pages and its CPUs, engine/cache/internal/pin for a memory barrier, which are no data; engine/cache/remote/redistest starts servers for tests"},
	{[]string{"github.com/cockroachdb/pebble/v2"},
		[]string{"engine/store", "engine/disk/pebblevfs"}, "",
		"the index is a view inside the store, and another could take its place"},
	{[]string{"github.com/redis/go-redis/v9"},
		[]string{"engine/cache/remote"}, "",
		"one tier of the cache speaks Redis, and another server could take its place"},
	{[]string{"github.com/prometheus/client_golang"},
		[]string{"engine/telemetry"}, "",
		"metrics have one registry and one style of names"},
	{[]string{"github.com/shirou/gopsutil/v3"},
		[]string{"harness/system"}, "",
		"one package wraps it, because it reads differently on each system"},
	{[]string{"github.com/hanwen/go-fuse/v2"},
		[]string{"chaos/fusefs"}, "",
		"a volume that fails is a few rules to whoever uses it, however it is made"},
	{[]string{"github.com/testcontainers/testcontainers-go", "github.com/moby/moby"},
		[]string{"harness/container"}, "",
		"one package speaks with the container engine, and another engine could take its place"},
	{[]string{"github.com/spf13/cobra", "github.com/spf13/pflag"},
		[]string{"cmd"}, "",
		"command lines belong to commands"},
	{[]string{"go.yaml.in/yaml/v3"},
		[]string{"cmd", "scenarios", "harness", "chaos", "regressions"}, "",
		"the engine takes options, not files"},
	{[]string{Module + "/engine/backend/memory", Module + "/engine/backend/backendtest", Module + "/engine/disk/disktest", Module + "/engine/object/objecttest", Module + "/engine/cache/remote/redistest", "testing", "github.com/stretchr/testify"},
		[]string{"engine/backend/backendtest", "engine/backend/memory", "engine/disk/disktest", "engine/object/objecttest", "engine/cache/remote/redistest"}, "engine",
		"what exists for tests is linked into tests only"},
	{[]string{"net/http/pprof", "expvar"}, []string{"engine/admin"}, "",
		"importing it opens handlers on the default mux, whoever asked for them; admin serves profiles on the operators' port, and nothing serves the default mux"},
}

func seamsHold(p Package) (breaches []string) {
	path, ok := rel(p.ImportPath)
	if !ok {
		return nil
	}
	for _, s := range seams {
		if s.within != "" && !within(path, s.within) || withinAny(path, s.only) {
			continue
		}
		for _, imp := range p.Imports {
			if withinAny(imp, s.imports) {
				breaches = append(breaches, fmt.Sprintf("%s imports %s: %s", path, imp, s.reason))
			}
		}
	}
	return breaches
}

// neverLinked are modules that tests and tools may use and the product may not contain.
var neverLinked = []struct {
	modules []string
	reason  string
}{
	{[]string{"go.k6.io/k6", "github.com/minio/minio", "github.com/minio/mc", "github.com/minio/madmin-go"}, "AGPL: linking it would put the product under its terms"},
	{[]string{"github.com/testcontainers/testcontainers-go", "github.com/stretchr/testify", "pgregory.net/rapid", "go.uber.org/goleak"}, "for tests"},
	{[]string{"github.com/minio/minio-go/v7", "github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go"}, "clients, to test against; a server needs none"},
}

// productLinks checks one package linked into the product.
func productLinks(p Package) (breaches []string) {
	if p.Module == nil || p.Module.Main {
		return nil
	}
	for _, n := range neverLinked {
		if withinAny(p.Module.Path, n.modules) {
			breaches = append(breaches, fmt.Sprintf("the product links %s: %s", p.ImportPath, n.reason))
		}
	}
	return breaches
}

// forbiddenNames say nothing of what a package keeps, so everything ends up in it.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "shared", "base", "lib"}

func namesSaySomething(p Package) (breaches []string) {
	path, ok := rel(p.ImportPath)
	if !ok {
		return nil
	}
	for _, part := range append(strings.Split(path, "/"), p.Name) {
		if slices.Contains(forbiddenNames, part) {
			return []string{fmt.Sprintf("%s: the name %q says nothing of what it keeps", path, part)}
		}
	}
	return nil
}

// freeOfCopyleft looks for the GNU licences in the text of a module's licence.
func freeOfCopyleft(module, text string) (breaches []string) {
	upper := strings.Join(strings.Fields(strings.ToUpper(text)), " ")
	for _, name := range []string{"GNU AFFERO GENERAL PUBLIC LICENSE", "GNU GENERAL PUBLIC LICENSE", "SERVER SIDE PUBLIC LICENSE", "BUSINESS SOURCE LICENSE"} {
		if strings.Contains(upper, name) {
			return []string{fmt.Sprintf("the product links %s, whose licence is the %s: Cairn is given under Apache-2.0", module, name)}
		}
	}
	return nil
}
