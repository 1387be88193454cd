// Package probe measures what one machine can do, below any store: processors,
// memory, checksums, erasure codes, a drive and a network, and how noisy the
// machine was meanwhile. What it found is a Profile, a YAML file whose keys
// name their units.
//
// Each measurement is bounded in time, so that a slow machine gives fewer
// samples and never a longer probe.
package probe
