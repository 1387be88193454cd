package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cairnstore/cairn/chaos/fusefs"
	"github.com/cairnstore/cairn/harness/container"
)

// runPrefix is of the directory of one run, in the system's place for
// temporary files: cairn-chaos-PID-START-….
const runPrefix = "cairn-chaos-"

// MakeRunDir makes a directory for a run, which says whose it is, for Sweep.
func MakeRunDir() (string, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-%s-", runPrefix, os.Getpid(), container.Born()))
	if err != nil {
		return "", fmt.Errorf("make a directory for the run: %w", err)
	}
	return dir, os.Chmod(dir, 0o755) // the server's user must get through
}

// A stageVolume is a volume that is there.
type stageVolume struct {
	Dir  string     // that the server sees
	fuse *fusefs.FS // nil: none
	undo func() error
}

// mount makes the volume of a plan within a run's directory.
func mount(v Volume, dir string, seed uint64) (*stageVolume, error) {
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		return nil, fmt.Errorf("make volume: %w", err)
	}
	made := &stageVolume{Dir: data, undo: func() error { return nil }}
	switch v.Kind {
	case Tmpfs:
		if err := syscall.Mount("cairn-chaos", data, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", v.Size)); err != nil {
			return nil, fmt.Errorf("mount a tmpfs, which needs root: %w", err)
		}
		made.undo = func() error { return syscall.Unmount(data, syscall.MNT_DETACH) }
	case Fuse:
		made.Dir = filepath.Join(dir, "shown")
		if err := os.Mkdir(made.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("make volume: %w", err)
		}
		f, err := fusefs.Mount(data, made.Dir, seed)
		if err != nil {
			return nil, fmt.Errorf("make volume, which needs /dev/fuse: %w", err)
		}
		made.fuse, made.undo = f, f.Unmount
	}
	if err := os.Chown(made.Dir, container.User, container.User); err != nil {
		return nil, errors.Join(fmt.Errorf("give the volume to the server's user, which needs root: %w", err), made.undo())
	}
	return made, nil
}

// Sweep removes what runs of processes that are gone have left behind: their
// containers, images, mounts and directories. It says what it removed.
func Sweep(ctx context.Context, e *container.Engine) (removed []string, err error) {
	var errs []error
	if e != nil {
		removed, err = e.Sweep(ctx)
		errs = append(errs, err)
	}
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), runPrefix+"*"))
	errs = append(errs, err)
	for _, dir := range dirs {
		parts := strings.SplitN(strings.TrimPrefix(filepath.Base(dir), runPrefix), "-", 3)
		if len(parts) != 3 {
			continue
		}
		pid, err := strconv.Atoi(parts[0])
		if err != nil || container.Alive(pid, parts[1]) {
			continue
		}
		mounts, err := unmountUnder(dir)
		removed = append(removed, mounts...)
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, "directory "+dir)
	}
	return removed, errors.Join(errs...)
}

// unmountUnder unmounts what is mounted under dir (proc(5), mounts: the second
// field is the place, with blanks as \040).
func unmountUnder(dir string) (removed []string, err error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var errs []error
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		point := strings.ReplaceAll(fields[1], `\040`, " ")
		if !strings.HasPrefix(point, dir+"/") {
			continue
		}
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
			continue
		}
		removed = append(removed, "mount "+point)
	}
	return removed, errors.Join(errs...)
}
