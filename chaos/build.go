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
	// Compiled as tests are, so that what they have compiled serves again; linked
	// without symbols, since the image holds it whole.
	args := []string{"build", "-ldflags", "-s -w", "-o", out}
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
