// Package scenarios has the lab's scenarios: in YAML for its own generator, and
// under k6 the same questions as scripts. Each says what it asks and what would
// fail it. Package harness/scenario reads and runs them.
package scenarios

import "embed"

// Files are the scenarios, their scripts and their traces.
//
//go:embed *.yaml k6/*.js traces/*.txt
var Files embed.FS
