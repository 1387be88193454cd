package chaos

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BuildServer builds a variant of the server from the sources in dir, static,
// and returns the binary's name, which lies in into.
func BuildServer(ctx context.Context, dir, into string, b Build) (string, error) {
	out := filepath.Join(into, "cairn-"+string(b))
	args := []string{"build", "-o", out} // with the flags of a test, so that what tests have compiled serves again
	if b != Release {
		args = append(args, "-tags", string(b))
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/cairn")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the server (%s) in %s: %w\n%s", b, dir, err, strings.TrimSpace(string(text)))
	}
	return out, nil
}
