// Command k6 is k6 with the extension k6/x/cairn built in.
package main

import (
	"os"

	"go.k6.io/k6/cmd"

	_ "github.com/cairnstore/cairn/harness/xk6"
)

// quiet keeps k6 from telling its makers about a run, and from fetching other
// builds of itself for extensions that a script may name: a load test talks to
// its target and to nobody else. Who wants either sets the variable.
func quiet() {
	for name, value := range map[string]string{"K6_NO_USAGE_REPORT": "true", "K6_AUTO_EXTENSION_RESOLUTION": "false"} {
		if _, set := os.LookupEnv(name); !set {
			_ = os.Setenv(name, value)
		}
	}
}

func main() {
	quiet()
	cmd.Execute()
}
