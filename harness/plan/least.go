package plan

import (
	"errors"
	"math"
)

// leastSquares finds coefficients that are not negative, so that the sum of
// squares of rows·c - y is least. The best of all subsets of columns whose plain
// solution has no negative coefficient is that: with four columns there are 15.
func leastSquares(rows [][]float64, y []float64) (best []float64, err error) {
	if len(rows) == 0 || len(rows) != len(y) {
		return nil, errors.New("fit: no points")
	}
	columns := len(rows[0])
	least := math.Inf(1)
	for set := 1; set < 1<<columns; set++ {
		var use []int
		for c := range columns {
			if set>>c&1 == 1 {
				use = append(use, c)
			}
		}
		part, ok := normal(rows, y, use)
		if !ok {
			continue
		}
		full := make([]float64, columns)
		for i, c := range use {
			full[c] = part[i]
		}
		sum := 0.0
		for i, row := range rows {
			d := -y[i]
			for c, v := range row {
				d += v * full[c]
			}
			sum += d * d
		}
		if sum < least*(1-1e-12) {
			least, best = sum, full
		}
	}
	if best == nil {
		return nil, errors.New("fit: the points have no solution")
	}
	return best, nil
}

// normal solves the normal equations of some columns; false if they have no
// single solution, or one with a negative coefficient.
func normal(rows [][]float64, y []float64, use []int) ([]float64, bool) {
	n := len(use)
	// Columns are scaled to one length, or large ones would hide small ones.
	scale := make([]float64, n)
	for i, c := range use {
		for _, row := range rows {
			scale[i] += row[c] * row[c]
		}
		if scale[i] = math.Sqrt(scale[i]); scale[i] == 0 {
			return nil, false
		}
	}
	m := make([][]float64, n)
	for i := range n {
		m[i] = make([]float64, n+1)
		for r, row := range rows {
			for j := range n {
				m[i][j] += row[use[i]] / scale[i] * row[use[j]] / scale[j]
			}
			m[i][n] += row[use[i]] / scale[i] * y[r]
		}
	}
	for c := range n {
		pivot := c
		for r := c + 1; r < n; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[pivot][c]) {
				pivot = r
			}
		}
		if math.Abs(m[pivot][c]) < 1e-10 {
			return nil, false
		}
		m[c], m[pivot] = m[pivot], m[c]
		for r := range n {
			if r == c {
				continue
			}
			f := m[r][c] / m[c][c]
			for k := c; k <= n; k++ {
				m[r][k] -= f * m[c][k]
			}
		}
	}
	solution := make([]float64, n)
	for i := range n {
		if solution[i] = m[i][n] / m[i][i] / scale[i]; solution[i] < 0 || math.IsNaN(solution[i]) {
			return nil, false
		}
	}
	return solution, true
}
