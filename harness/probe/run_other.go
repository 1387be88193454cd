//go:build !linux

package probe

import (
	"context"
	"errors"
)

// Run can't measure here.
func Run(context.Context, Options) (*Profile, error) {
	return nil, errors.New("probe: machines are measured on Linux alone")
}
