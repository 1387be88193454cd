// Package gate builds two revisions and decides whether the newer one is slower.
//
//	build ─ base (a worktree of git) and candidate (this tree)
//	count ─ proxies of both: allocations, syncs, bytes; system calls
//	pairs ─ each scenario on both, in rounds, who comes first by coin
//	judge ─ regressions/judge
//
// How many rounds there are is decided by the time that is left after the
// first, and never by what was measured: who looks until he likes what he sees,
// sees what he likes.
package gate
