//go:build !linux

package probe

import (
	"context"
	"errors"
)

// MeasureCommits can't measure here.
func MeasureCommits(context.Context, CommitOptions) (*Commits, error) {
	return nil, errors.New("commits: drives are measured on Linux alone")
}
