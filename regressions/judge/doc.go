// Package judge decides from pairs of measurements whether a candidate is worse
// than its base, and how often it is wrong. It runs nothing: the gate measures,
// and a simulation of the gate on noisy machines uses the same code.
//
// Each scenario is measured in pairs, a run of the base beside a run of the
// candidate. Which of the two comes first is drawn by coin, for each pair anew:
// if both builds are alike, each pair's ratio is then as likely to be above 1
// as below by as much, whatever the machine does meanwhile. Wilcoxon's signed
// ranks rest on nothing else.
//
// A metric is worse if that is both significant, by the interval of its ratio,
// and relevant, by its magnitude; better in the same way. It is the same if a
// slowdown of its blind spot is ruled out. Anything else cannot be told, and is
// said to be so.
//
// Two errors are bounded apart. A false alarm is an error of the whole gate, so
// that the intervals that raise one are as wide as the number of metrics asks.
// To pass a slow candidate is an error on one metric, whose interval need not be.
package judge
