// Package repro has, for each performance bug that was found, a scenario that
// would have caught it. One that can be counted is a test here; one that takes a
// clock is a scenario of lab gate, which only --only runs. README.md lists them.
package repro
