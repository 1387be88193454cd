package judge

import "math/rand/v2"

// Orders says for each of n pairs whether the candidate comes first: by coin,
// so that the seed of a record says it all.
func Orders(seed uint64, scenario string, n int) []bool {
	h := uint64(14695981039346656037) // FNV-1a, so that scenarios have coins of their own
	for _, b := range []byte(scenario) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	rng := rand.New(rand.NewPCG(seed, h))
	first := make([]bool, n)
	for i := range first {
		first[i] = rng.IntN(2) == 1
	}
	return first
}

// Order writes the order of runs down: "A B  B A  …", A the base.
func Order(candidateFirst []bool) string {
	s := make([]byte, 0, 5*len(candidateFirst))
	for i, first := range candidateFirst {
		if i > 0 {
			s = append(s, "  "...)
		}
		if first {
			s = append(s, "B A"...)
		} else {
			s = append(s, "A B"...)
		}
	}
	return string(s)
}
