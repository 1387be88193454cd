package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// fileVariants are the variables whose value may be kept in a file that
// NAME_FILE names, as container secrets are.
var fileVariants = []string{
	"CAIRN_ROOT_USER", "CAIRN_ROOT_PASSWORD", "CAIRN_METRICS_TOKEN", "CAIRN_REDIS_URL",
	"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD",
}

// minioNames are MinIO's variables for settings of ours.
var minioNames = map[string][]string{
	"root-user":         {"MINIO_ROOT_USER"},
	"root-password":     {"MINIO_ROOT_PASSWORD"},
	"region":            {"MINIO_SITE_REGION", "MINIO_REGION", "MINIO_REGION_NAME"},
	"domain":            {"MINIO_DOMAIN"},
	"cors-allow-origin": {"MINIO_API_CORS_ALLOW_ORIGIN"},
}

func minioName(name string) bool {
	for _, names := range minioNames {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// An environment is the variables that may be ours; each is taken once, and
// those of ours that nobody took are likely misspelt.
type environment struct {
	values map[string]string
}

func newEnvironment(environ []string) (*environment, error) {
	e := &environment{values: make(map[string]string)}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "CAIRN_") || strings.HasPrefix(name, "MINIO_ROOT_") || minioName(name) {
			e.values[name] = value
		}
	}
	for _, name := range fileVariants {
		file := e.take(name + "_FILE")
		if file == "" {
			continue
		}
		if e.values[name] != "" {
			return nil, fmt.Errorf("%s and %s_FILE are both set: choose one", name, name)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w", name, err)
		}
		value := strings.TrimRight(string(content), "\r\n")
		if value == "" {
			return nil, fmt.Errorf("%s_FILE: %s is empty", name, file)
		}
		e.values[name] = value
	}
	return e, nil
}

// take returns a variable's value, or "" where it is unset or empty, which mean the same.
func (e *environment) take(name string) string {
	value := e.values[name]
	delete(e.values, name)
	return value
}

// AdminToken is a variable of "cairn cache", often of a server's environment too.
const AdminToken = "CAIRN_ADMIN_TOKEN"

// rest names the CAIRN_* variables that nobody took.
func (e *environment) rest() []string {
	var names []string
	for name := range e.values {
		if strings.HasPrefix(name, "CAIRN_") && name != AdminToken {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
