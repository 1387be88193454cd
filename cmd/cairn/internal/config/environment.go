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

// notMinIOs are variables of MinIO's that are not honoured, with what to set instead: who sets
// one counts on it.
var notMinIOs = map[string]string{
	"MINIO_ACCESS_KEY":      "CAIRN_ROOT_USER or MINIO_ROOT_USER",
	"MINIO_ACCESS_KEY_FILE": "CAIRN_ROOT_USER_FILE or MINIO_ROOT_USER_FILE",
	"MINIO_SECRET_KEY":      "CAIRN_ROOT_PASSWORD or MINIO_ROOT_PASSWORD",
	"MINIO_SECRET_KEY_FILE": "CAIRN_ROOT_PASSWORD_FILE or MINIO_ROOT_PASSWORD_FILE",
	"MINIO_VOLUMES":         "--data or CAIRN_DATA, one directory",
}

// Instead is what to set in place of a variable that means nothing; empty where that is not known.
func Instead(name string) string { return notMinIOs[name] }

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
		if strings.HasPrefix(name, "CAIRN_") || strings.HasPrefix(name, "MINIO_ROOT_") || minioName(name) || notMinIOs[name] != "" && value != "" {
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
	if e.values["CAIRN_ROOT_USER"] != "" || e.values["CAIRN_ROOT_PASSWORD"] != "" {
		// A user of ours never gets MinIO's password, nor the other way round.
		e.take("MINIO_ROOT_USER")
		e.take("MINIO_ROOT_PASSWORD")
	}
	return e, nil
}

// wholePair refuses one of MinIO's root credentials without the other: what else is set, in a
// file, say, is of another user.
func (e *environment) wholePair() error {
	user, password := "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"
	if e.values[user] == "" {
		user, password = password, user
	}
	if e.values[user] != "" && e.values[password] == "" {
		return fmt.Errorf("%s is set and %s is not: they belong together; give both or neither", user, password)
	}
	return nil
}

// take returns a variable's value, or "" where it is unset or empty, which mean the same.
func (e *environment) take(name string) string {
	value := e.values[name]
	delete(e.values, name)
	return value
}

// AdminToken is a variable of "cairn cache", often of a server's environment too.
const AdminToken = "CAIRN_ADMIN_TOKEN"

// rest names the CAIRN_* variables that nobody took, and those of MinIO's that nobody will.
func (e *environment) rest() []string {
	var names []string
	for name := range e.values {
		if strings.HasPrefix(name, "CAIRN_") && name != AdminToken || notMinIOs[name] != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
