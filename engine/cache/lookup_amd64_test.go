package cache

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The hash depends on every bit of a key and on its length, and on nothing else: neither
// where the key lies, nor what is around it, which may be no memory at all.
func TestVectorHash(t *testing.T) {
	if !vectors {
		t.Skip("this processor has no AVX2 or AES, or the race detector looks on")
	}
	x := openCache(t, Options{}, hooks{}).index
	page := unix.Getpagesize()
	m, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(m)) }()
	require.NoError(t, unix.Mprotect(m[:page], unix.PROT_NONE))
	require.NoError(t, unix.Mprotect(m[2*page:], unix.PROT_NONE))
	only := m[page : 2*page]
	seen := map[uint64]string{}
	note := func(key []byte, what string, args ...any) uint64 {
		h := hashVector(x, key)
		was, twice := seen[h]
		require.False(t, twice, "%s hashes as %s", fmt.Sprintf(what, args...), was)
		seen[h] = fmt.Sprintf(what, args...)
		return h
	}
	for n := 8; n < 200; n++ {
		key := only[:n]
		clear(key)
		h := note(key, "%d zeros", n)
		last := only[page-n:]
		clear(last)
		require.Equal(t, h, hashVector(x, last), "%d bytes", n)
		require.Equal(t, h, hashVector(x, make([]byte, n)), "%d bytes", n)
		for bit := range 8 * n {
			key[bit/8] ^= 1 << (bit % 8)
			note(key, "%d zeros but bit %d", n, bit)
			key[bit/8] ^= 1 << (bit % 8)
		}
	}
}
