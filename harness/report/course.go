package report

import "github.com/cairnstore/cairn/harness/load"

// A second is what happened in about one second of a load.
type second struct {
	At          float64 // its end, in seconds since the measured time began
	Ops, Errors int64
	MeanUS      float64
}

// secondsOf is the course of a load; none if the result has none.
func secondsOf(*load.Result) []second { return nil }
