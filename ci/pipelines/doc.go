// Package pipelines holds the pipelines of GitHub and GitLab to what they may
// be: calls of make targets and of lab that exist, so that a pipeline runs
// nothing that a developer cannot run.
package pipelines
