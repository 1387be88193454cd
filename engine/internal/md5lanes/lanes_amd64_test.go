package md5lanes

import "testing"

// A processor with wide registers computes in the narrow ones what it does in those.
func TestBatchesInNarrowRegisters(t *testing.T) {
	if !hasWide || !hasAVX2 {
		t.Skip("this processor has narrow registers alone")
	}
	hasWide = false
	defer func() { hasWide = true }()
	testBatches(t)
	testSums(t)
}
