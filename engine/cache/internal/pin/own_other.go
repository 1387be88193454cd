//go:build !linux || !amd64 || race

package pin

// perProcessor: pins are atomic additions here.
const perProcessor = false

func registerFence() bool { return false }

func fence() {}

func procPin() int { return 0 }

func procUnpin() {}
