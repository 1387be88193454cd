// Command count prints the deterministic proxies as JSON, or accepts them.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/cairnstore/cairn/regressions/judge"
	"github.com/cairnstore/cairn/regressions/proxies"
)

func main() {
	accept := flag.String("accept", "", "make the figures the accepted ones in this file")
	why := flag.String("why", "", "what a figure that rose is accepted for")
	flag.Parse()
	if err := run(*accept, *why); err != nil {
		fmt.Fprintln(os.Stderr, "count:", err)
		os.Exit(1)
	}
}

func run(accept, why string) error {
	measured, err := proxies.Measure(proxies.Variant{})
	if err != nil {
		return err
	}
	if accept == "" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", " ")
		return e.Encode(measured)
	}
	was, err := proxies.ReadFile(accept)
	if err != nil {
		return err
	}
	for _, f := range was.Against(measured) {
		if f.Decision != judge.Same {
			fmt.Println(f)
		}
	}
	now, err := was.Accept(measured, why)
	if err != nil {
		return err
	}
	return now.Write(accept)
}
