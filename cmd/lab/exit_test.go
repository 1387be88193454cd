package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The README's table of exit codes is what commands say of themselves and do.
func TestTheTableOfExitCodes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	row := func(command string) (codes []string) {
		for line := range strings.Lines(string(readme)) {
			if cells := strings.Split(line, "|"); len(cells) == 8 && strings.Contains(cells[1], command) {
				for _, cell := range cells[2:7] {
					codes = append(codes, strings.TrimSpace(cell))
				}
			}
		}
		require.Len(t, codes, 5, command)
		return codes
	}
	n := strconv.Itoa
	require.Equal(t, []string{"0", n(exitFail), n(exitCannotTell), "", n(exitMishap)}, row("`lab run`"))
	require.Equal(t, []string{"0", n(gateWorse), n(gateCannotTell), n(gateNotQualified), n(gateMishap)}, row("`lab gate`"))
	check := row("`lab plan check`")
	require.Contains(t, newPlanCheck().Long, "Exit status: "+check[0]+" both are reached, "+check[1]+" one is not, "+check[2]+" the machine was too busy to tell.")
	for _, wrong := range [][]string{{"plan", "check", "--no-such-flag"}, {"probe", "--no-such-flag"}, {"probe", "--dir", "/does/not/exist"}, {"record", "show", "no-such-record"}, {"report"}, {"compare", "no-such-scenario"},
		{"bogus"}, {"bench", "bogus"}, {"record", "bogus"}, {"scenarios", "bogus"}, {"chaos", "bogus"},
		{"bench", "load", "--size", "-1"}, {"bench", "load", "--unverified", "2"}, {"bench", "load", "--max-requests", "0"}} {
		_, _, err := run(t.Context(), wrong...)
		require.Error(t, err, wrong)
		require.Equal(t, row("all others")[4], n(exitCode(err)), wrong)
	}
}
