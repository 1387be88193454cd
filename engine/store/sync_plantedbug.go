//go:build plantedbug

package store

import (
	"sync/atomic"
	"time"

	"github.com/cairnstore/cairn/engine/disk"
)

// syncing is whether a sync is due.
var syncing atomic.Bool

// syncGroup acknowledges before its sync, a bug that is planted to see that the
// experiments find it: the sync comes up to 200 ms later. No release is built
// with this tag.
func syncGroup(f disk.File) error {
	if syncing.CompareAndSwap(false, true) {
		time.AfterFunc(200*time.Millisecond, func() {
			syncing.Store(false)
			_ = f.Sync()
		})
	}
	return nil
}
