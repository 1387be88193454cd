//go:build !linux

package gate

import "os"

func dataSync(f *os.File) error { return f.Sync() }
