package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A build is one revision's binaries.
type build struct {
	name   string // base or candidate
	source string // folder of its tree
	cairn  string
	engine string // enginebench
	count  string // the proxies' counter; empty: the revision has none
	about  string // the revision, for people
}

// programs are built of each revision. Those that a revision does not have yet are left out.
const (
	cairnPackage  = "./cmd/cairn"
	enginePackage = "./cmd/enginebench"
	countPackage  = "./regressions/proxies/count"
)

// command runs a program in a folder and returns what it printed.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, tail(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// A workspace is the gate's folder: worktrees, binaries and the servers' data.
type workspace struct {
	repository string // its top
	dir        string
	worktrees  []string
}

func newWorkspace(ctx context.Context, o Options) (*workspace, error) {
	top, err := command(ctx, o.Repository, "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.Dir, "gate-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	return &workspace{repository: top, dir: dir}, nil
}

// close removes all that was made, also after an interrupt.
func (w *workspace) close() error {
	var all []error
	for _, tree := range w.worktrees {
		if _, err := os.Stat(tree); err != nil {
			continue // git had not begun
		}
		// Twice forced: one whose checkout was interrupted is locked.
		_, err := command(context.Background(), w.repository, "git", "worktree", "remove", "--force", "--force", tree)
		all = append(all, err)
	}
	return errors.Join(append(all, os.RemoveAll(w.dir))...)
}

// tree is the folder for a revision's source, which close removes.
func (w *workspace) tree(name string) string {
	dir := filepath.Join(w.dir, name+"-source")
	w.worktrees = append(w.worktrees, dir)
	return dir
}

// build builds a revision; an empty one is the repository's folder as it is.
func (w *workspace) build(ctx context.Context, name, revision string) (build, error) {
	b := build{name: name, source: w.repository}
	var err error
	if revision != "" {
		commit, err := command(ctx, w.repository, "git", "rev-parse", "--verify", "--quiet", revision+"^{commit}")
		if err != nil {
			return b, fmt.Errorf("%s: git knows no revision %q", name, revision)
		}
		b.source = w.tree(name)
		if _, err := command(ctx, w.repository, "git", "worktree", "add", "--detach", b.source, commit); err != nil {
			return b, fmt.Errorf("%s: %w", name, err)
		}
	}
	if b.about, err = about(ctx, b.source); err != nil {
		return b, fmt.Errorf("%s: %w", name, err)
	}
	for _, p := range []struct {
		path   string
		binary *string
		needed bool
	}{{cairnPackage, &b.cairn, true}, {enginePackage, &b.engine, false}, {countPackage, &b.count, false}} {
		if _, err := os.Stat(filepath.Join(b.source, p.path)); err != nil && !p.needed {
			continue
		}
		binary := filepath.Join(w.dir, name+"-bin", filepath.Base(p.path))
		if _, err := command(ctx, b.source, "go", "build", "-trimpath", "-ldflags", "-X main.version="+b.about, "-o", binary, p.path); err != nil {
			return b, fmt.Errorf("build %s: %w", name, err)
		}
		*p.binary = binary
	}
	return b, nil
}

// about is the name of what a folder holds. Files that git does not know are built too.
func about(ctx context.Context, source string) (string, error) {
	name, err := command(ctx, source, "git", "describe", "--tags", "--always")
	if err != nil {
		return "", err
	}
	changed, err := command(ctx, source, "git", "status", "--porcelain")
	if changed != "" {
		name += "-dirty"
	}
	return name, err
}
