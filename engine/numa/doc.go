// Package numa knows which CPUs are near which memory, and keeps threads and
// pages there.
//
// A machine with several sockets, or with sockets cut into parts (AMD's NPS,
// Intel's SNC), has several nodes: CPUs with memory of their own. Memory of
// another node costs half as much again to twice the time to reach, so the
// engine gives each node its own arenas and its own workers.
//
// Most machines have one node. There Pin and Bind do nothing, without a system call.
package numa
