package store

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFilter(t *testing.T) {
	f := newFilter(0)
	const n = 1_000_000
	for i := range n {
		f.add(fmt.Appendf(nil, "key-%d", i))
	}
	require.False(t, f.absent([]byte("key-none")), "an answer before every key is known")
	f.ready.Store(true)
	for i := range n {
		require.False(t, f.absent(fmt.Appendf(nil, "key-%d", i)))
	}
	wrong := 0
	for i := range n / 10 {
		if !f.absent(fmt.Appendf(nil, "other-%d", i)) {
			wrong++
		}
	}
	require.Less(t, float64(wrong)/(n/10), 0.03, "layers: %d", len(*f.layers.Load()))
	t.Logf("%d layers, %.2f %% false", len(*f.layers.Load()), float64(wrong)/(n/10)*100)
}
