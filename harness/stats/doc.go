// Package stats says what measurements allow one to say: medians with
// intervals, whether two samples differ, by what ratio pairs differ, and where
// a history changed. It knows numbers alone, no records and no servers.
//
// Every answer carries warnings: what its assumptions are and how the data
// strained them. A question that the data cannot answer is an error
// (ErrTooFew), never a wide guess.
//
// What is assumed, in one place:
//
//	Bootstrap     the values are independent draws from one distribution; below
//	              about ten of them the intervals are too short, which is warned of.
//	MannWhitney   independent values in both samples. Exact without ties and with
//	              at most 50 values a side, else the normal approximation.
//	SignedRank    independent differences, symmetric about their median. Where the
//	              order within each pair was drawn by coin, no effect implies
//	              both, whatever the machine does.
//	PairedRatio   SignedRank of the logarithms of the ratios.
//	Trend         independent values, if there is no trend.
//	ChangePoints  independent values between two changes.
package stats
