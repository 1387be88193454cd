package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
)

func newCredentials() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "credentials",
		Short: "The root credentials of a data directory",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCredentialsShow())
	return cmd
}

func newCredentialsShow() *cobra.Command {
	var dir string
	var asJSON, asEnv bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the root credentials that the server made",
		Long: `Print the root credentials that the server made on its first start because
none were given. Credentials given to the server are not kept, and not shown.`,
		Example: `  cairn credentials show --data ./data
  eval "$(cairn credentials show --data ./data --env)"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError{errors.New("no data directory: say which, as in --data ./data")}
			}
			if asJSON && asEnv {
				return usageError{errors.New("--json and --env exclude each other")}
			}
			p, err := credentials.Load(dir)
			if errors.Is(err, credentials.ErrNone) {
				return fmt.Errorf("%w: the server makes them on its first start, unless it is given others", err)
			}
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			switch {
			case asJSON:
				return json.NewEncoder(out).Encode(p)
			case asEnv:
				_, err = fmt.Fprintf(out, "export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n", shellQuote(p.AccessKey), shellQuote(p.SecretKey))
			default:
				_, err = fmt.Fprintf(out, "access key  %s\nsecret key  %s\n", p.AccessKey, p.SecretKey)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "data", "", "the server's data `directory`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().BoolVar(&asEnv, "env", false, "as shell commands that export the variables of AWS tools")
	return cmd
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
