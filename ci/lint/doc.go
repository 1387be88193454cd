// Package lint holds the architecture as a test: which package may import
// which, who may touch the file system, and what may be linked into the
// product. Every rule carries its reason, and a test of its own that a breach
// is caught.
package lint
