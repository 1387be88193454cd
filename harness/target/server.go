package target

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Server is a kind of S3 server that can be put on a directory.
type Server struct {
	Name string
	// Durability says what an acknowledged PUT has survived. It is printed
	// beside every number of this server.
	Durability string
	Binary     string
	// Command returns the arguments and the environment for serving dir.
	Command func(dir, address string, c Credentials) (args, env []string)
	// Ready is the path that answers 200 once it serves; empty: a connection is enough.
	Ready string
	// VersionArgs make the binary print its version; none: what the go command
	// noted in it is enough.
	VersionArgs []string
	// AdminFlag sets where it tells how it is, at /metrics; empty: nowhere.
	AdminFlag string
	// Compacted is the name of the counter there of the bytes that compaction has moved.
	Compacted string
	// Runner runs it; nil: beside this process.
	Runner Runner
}

// Credentials are the administrator's key and secret.
type Credentials struct{ Access, Secret string }

// Cairn describes this repository's server.
func Cairn(binary string) Server {
	return Server{
		Name: "cairn", Binary: binary, Durability: "fdatasync before ack (group commit)", Ready: "/health/ready", VersionArgs: []string{"version"},
		AdminFlag: "--admin-address", Compacted: "cairn_store_compacted_bytes_total",
		Command: func(dir, address string, c Credentials) (args, env []string) {
			return []string{"server", "--data", dir, "--address", address},
				[]string{"MINIO_ROOT_USER=" + c.Access, "MINIO_ROOT_PASSWORD=" + c.Secret}
		},
	}
}

// MinIO describes MinIO on a single drive with its defaults; only its browser
// console, which plays no part, is off.
func MinIO(binary string) Server {
	return Server{
		Name: "minio", Binary: binary, Durability: "fdatasync before ack (O_DIRECT + fdatasync)", Ready: "/minio/health/ready",
		Command: func(dir, address string, c Credentials) (args, env []string) {
			return []string{"server", dir, "--address", address},
				[]string{"MINIO_ROOT_USER=" + c.Access, "MINIO_ROOT_PASSWORD=" + c.Secret, "MINIO_BROWSER=off"}
		},
	}
}

// Versitygw describes versitygw's posix backend. Keep-alive is on, since
// without it each request would pay for a connection; its line of log per
// request is off, as the others have none.
func Versitygw(binary string) Server {
	return Server{
		Name: "versitygw", Binary: binary, Durability: "none (no sync)", Ready: "/health",
		Command: func(dir, address string, c Credentials) (args, env []string) {
			return []string{"--access", c.Access, "--secret", c.Secret, "--port", address, "--keep-alive", "--quiet", "--health", "/health", "posix", dir}, nil
		},
	}
}

// With is the server with more arguments, behind its own.
func (s Server) With(arguments ...string) Server {
	command := s.Command
	s.Command = func(dir, address string, c Credentials) (args, env []string) {
		args, env = command(dir, address, c)
		return append(args, arguments...), env
	}
	return s
}

// Version is what the binary says it was built from.
func (s Server) Version() string {
	if len(s.VersionArgs) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, s.Binary, s.VersionArgs...).Output()
		if line, _, _ := strings.Cut(string(out), "\n"); err == nil && line != "" {
			return line
		}
	}
	info, err := buildinfo.ReadFile(s.Binary)
	if err != nil {
		return "unknown"
	}
	version := info.Main.Version
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			version += " " + setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				version += " (modified)"
			}
		}
	}
	return fmt.Sprintf("%s, %s", version, info.GoVersion)
}

// Start serves the data directory, made if it is not there, at a free port.
// Logs go beside it.
func (s Server) Start(ctx context.Context, dir string, c Credentials) (*Process, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	// Between the look for a free port and the server's own, another process may have taken it,
	// for a connection it made even.
	for try := 1; ; try++ {
		p, err := s.start(ctx, dir, c)
		if err == nil || try == startTries || !strings.Contains(err.Error(), "already in use") {
			return p, err
		}
	}
}

const startTries = 5

func (s Server) start(ctx context.Context, dir string, c Credentials) (*Process, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	args, env := s.Command(dir, address, c)
	var admin string
	if s.AdminFlag != "" && s.Runner == nil { // a container's is not published
		if admin, err = FreeAddress(); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.Name, err)
		}
		args = append(args, s.AdminFlag, admin)
	}
	return Start(ctx, s.Runner, Launch{
		Name: s.Name, Binary: s.Binary, Args: args, Env: env,
		Address: address, Admin: admin, Ready: s.Ready, Data: dir, LogDir: filepath.Dir(dir),
	})
}
