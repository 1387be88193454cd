// Package chaos ill-treats a server under load and decides whether it kept its
// promises.
//
// A Plan names faults, when they come, the load and the checkers. A Fault is a
// contract: set up, inject, wait until it is seen to bite, recover, wait until the
// server is healthy, clean up. A fault without a visible effect fails the
// experiment, for nothing was learned from it.
//
//	Plan ─ Run ─ Stage: load ─ proxy ─ container ─ volume
//	         │     └ what clients see: timeline, watches
//	         ├ Fault: inject … bites … recover … healthy
//	         └ verify: journal and checkers, while the load pauses
//
// The server runs in a container on a volume of its own: a directory, a tmpfs of
// a set size, or a FUSE file system that fails (package fusefs). The load reaches
// it through a proxy that ill-treats the network (package proxy).
package chaos
