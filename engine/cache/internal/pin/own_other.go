//go:build !linux || !amd64 || race

package pin

// perProcessor: pins are atomic additions here.
const perProcessor = false

func registerFence() bool { return false }

func fence() {}

func procPin() int { return 0 }

func procUnpin() {}

const inG, inM = 0, 0

func drop(t *Table, segment uint32) { dropShared(t, segment) }
