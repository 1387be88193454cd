package proxies

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/regressions/judge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestFiguresAreTheAcceptedOnes is the gate without a base: to the digit.
func TestFiguresAreTheAcceptedOnes(t *testing.T) {
	file, err := ReadFile("proxies.json")
	require.NoError(t, err)
	if !file.Applies() {
		version, arch := Toolchain()
		t.Skipf("SKIPPED: proxies.json is of %s on %s, this is %s on %s", file.Go, file.Arch, version, arch)
	}
	measured, err := Measure(Variant{})
	require.NoError(t, err)
	for _, f := range file.Against(measured) {
		if f.Decision != judge.Same {
			t.Errorf("%v\n(make proxies-accept WHY='...' if it is meant)", f)
		}
	}
}

// wasteful is a backend that allocates on each call of the kinds that an
// operation makes.
type wasteful struct {
	backend.Backend
	extra int64
}

var waste any // so that what is allocated escapes

func (w wasteful) allocate() {
	for range w.extra {
		waste = new([3]int)
	}
}

func (w wasteful) Update(ctx context.Context, locks backend.Locks, fn func(backend.Tx) error) error {
	w.allocate()
	return w.Backend.Update(ctx, locks, fn)
}

func (w wasteful) Enqueue(ctx context.Context, locks backend.Locks, fn func(backend.Tx) error) (backend.Pending, error) {
	w.allocate()
	return w.Backend.Enqueue(ctx, locks, fn)
}

func (w wasteful) Get(key, buf []byte) (backend.Entry, bool, error) {
	w.allocate()
	return w.Backend.Get(key, buf)
}

func (w wasteful) Iter(lower, upper []byte) (backend.Iter, error) {
	w.allocate()
	return w.Backend.Iter(lower, upper)
}

func figure(t *testing.T, all []Figure, name string) Figure {
	t.Helper()
	for _, f := range all {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no figure %q", name)
	return Figure{}
}

// TestDoubledAllocationsAreCaughtAlways builds the stack with a layer that
// allocates once more for each allocation that an operation makes, and with one
// that makes a single one more.
func TestDoubledAllocationsAreCaughtAlways(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for _, op := range operations() {
		op.n = min(op.n, 100)
		if op.name == "get4k-first" {
			continue // a get without a cache, of which get4k stands for the other half
		}
		name := op.name + ".allocs"
		counted := func(v Variant) Figure {
			all, err := op.measure(v)
			require.NoError(t, err)
			return figure(t, all, name)
		}
		product := counted(Variant{})
		file := File{Figures: map[string]Accepted{name: {Value: product.Value}}}
		for _, extra := range []int64{1, product.Value} {
			worse := counted(Variant{Backend: func(b backend.Backend) backend.Backend { return wasteful{b, extra} }})
			require.GreaterOrEqual(t, worse.Value, product.Value+extra, name)
			require.Equal(t, judge.Worse, file.Against([]Figure{worse})[0].Decision, name)
			require.Equal(t, judge.Worse, Between([]Figure{product}, []Figure{worse}, file, file)[0].Decision, name)
		}
	}
}

func TestWastefulAnswersAreCaught(t *testing.T) {
	file, err := ReadFile("proxies.json")
	require.NoError(t, err)
	figures, err := measureWire(Variant{Handler: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Chatty", "0123456789")
			h.ServeHTTP(w, r)
		})
	}})
	require.NoError(t, err)
	f := figure(t, figures, "wire.get4k.answer")
	require.EqualValues(t, file.Figures[f.Name].Value+int64(len("X-Chatty: 0123456789\r\n")), f.Value)
	require.Equal(t, judge.Worse, file.Against([]Figure{f})[0].Decision)
}

func TestARiseIsAcceptedForAReasonOnly(t *testing.T) {
	base := File{Figures: map[string]Accepted{"a": {Value: 7, Unit: "x", Why: "old"}}}
	before, after := []Figure{{"a", 7, "x"}}, []Figure{{"a", 8, "x"}}
	require.Equal(t, judge.Worse, Between(before, after, base, base)[0].Decision)
	_, err := base.Accept(after, "")
	require.ErrorContains(t, err, "say why")
	changed, err := base.Accept(after, "a header more")
	require.NoError(t, err)
	f := Between(before, after, base, changed)[0]
	require.Equal(t, judge.Same, f.Decision)
	require.Contains(t, f.String(), "a header more")
	// The reason is for that value: a further rise needs another.
	require.Equal(t, judge.Worse, Between(after, []Figure{{"a", 9, "x"}}, changed, changed)[0].Decision)
	require.Equal(t, judge.Better, Between(after, before, base, base)[0].Decision)

	lower, err := changed.Accept(before, "")
	require.NoError(t, err)
	require.Equal(t, "a header more", lower.Figures["a"].Why)
	require.Equal(t, judge.CannotTell, lower.Against([]Figure{{"b", 1, "x"}})[0].Decision)
	require.Len(t, lower.Against(nil), 1, "what is not measured any more is told")
}

// A figure that is gone, or counted in another unit, is no pass.
func TestALostFigureIsNoPass(t *testing.T) {
	base := File{Figures: map[string]Accepted{"a": {Value: 7, Unit: "x"}}}
	before := []Figure{{"a", 7, "x"}, {"b", 1, "x"}}
	found := Between(before, before[:1], base, base)
	require.Len(t, found, 2)
	require.Equal(t, judge.Same, found[0].Decision)
	require.Equal(t, judge.CannotTell, found[1].Decision)
	require.Contains(t, found[1].String(), "the candidate does not")

	otherwise := []Figure{{"a", 9, "y"}}
	found = Between(before[:1], otherwise, base, base)
	require.Equal(t, judge.CannotTell, found[0].Decision)
	changed := File{Figures: map[string]Accepted{"a": {Value: 9, Unit: "y", Why: "in y, which tells more"}}}
	require.Equal(t, judge.Same, Between(before[:1], otherwise, base, changed)[0].Decision)
}

func TestTheFileComesBack(t *testing.T) {
	name := filepath.Join(t.TempDir(), "proxies.json")
	none, err := ReadFile(name)
	require.NoError(t, err)
	require.False(t, none.Applies())
	f, err := none.Accept([]Figure{{"a", 1, "x"}}, "")
	require.NoError(t, err)
	require.NoError(t, f.Write(name))
	back, err := ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, f, back)
	require.True(t, back.Applies())
	require.NoError(t, os.WriteFile(name, []byte(`{"figures":{"a":{"value":-1}}}`), 0o600))
	_, err = ReadFile(name)
	require.ErrorContains(t, err, "-1")
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(`{"go":"go1.26","arch":"amd64","figures":{"a":{"value":1,"unit":"x","why":"y"}}}`))
	f.Add([]byte(`{"figures":{"a":{"value":-1}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile(data)
		if err != nil {
			return
		}
		for name, a := range file.Figures {
			if a.Value < 0 {
				t.Fatalf("%s is %d", name, a.Value)
			}
		}
	})
}
