//go:build plantedbug

package store

import (
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

// syncGroup acknowledges before its sync, a bug that is planted to see that the
// experiments find it. No release is built with this tag.
func syncGroup(f disk.File) error {
	time.AfterFunc(200*time.Millisecond, func() { _ = f.Sync() })
	return nil
}
