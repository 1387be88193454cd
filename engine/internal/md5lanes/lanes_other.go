//go:build !amd64

package md5lanes

const parallel = false

func blocks(*[4][Lanes]uint32, *[Lanes]*byte, int, int) { panic("md5lanes: no vectors here") }
