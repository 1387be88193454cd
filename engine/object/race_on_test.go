//go:build race

package object_test

// raceEnabled: the race detector empties pools at random.
const raceEnabled = true
