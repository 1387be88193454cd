package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/internal/config"
	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
	"github.com/cairnstore/cairn/engine"
)

func newCredentials(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "credentials",
		Short: "The root credentials of a data directory",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCredentialsShow(environ))
	return cmd
}

func newCredentialsShow(environ []string) *cobra.Command {
	var dir string
	var asJSON, asEnv, adminToken bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the root credentials that the server made",
		Long: `Print the root credentials that the server made on its first start because
none were given. Credentials given to the server are not kept, and not shown.

With --admin-token print the bearer token for what operators change over the
admin address. It follows from the root password: the one that is set by variables
as for the server, else the one kept in the data directory.`,
		Example: `  cairn credentials show --data ./data
  curl -X POST -H "Authorization: Bearer $(cairn credentials show --data ./data --admin-token)" \
    'http://127.0.0.1:9001/cache/warm?bucket=photos'
  eval "$(cairn credentials show --data ./data --env)"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && asEnv || adminToken && (asJSON || asEnv) {
				return usageError{errors.New("--json, --env and --admin-token exclude each other")}
			}
			if adminToken {
				token, err := findAdminToken(environ, dir)
				if err == nil {
					_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
				}
				return err
			}
			if dir == "" {
				return usageError{errNoDirectory}
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
	cmd.Flags().BoolVar(&adminToken, "admin-token", false, "the bearer token for the admin address, and nothing else")
	return cmd
}

var errNoDirectory = errors.New("no data directory: say which, as in --data ./data")

// findAdminToken makes the admin token from the root password that the server
// with this environment and data directory has.
func findAdminToken(environ []string, dir string) (string, error) {
	password, err := config.RootPassword(environ)
	if err != nil {
		return "", usageError{err}
	}
	if password != "" {
		return engine.AdminToken(password), nil
	}
	if dir == "" {
		return "", usageError{errNoDirectory}
	}
	p, err := credentials.Load(dir)
	if errors.Is(err, credentials.ErrNone) {
		return "", fmt.Errorf("%w: if the server was given its password, set CAIRN_ROOT_PASSWORD here too", err)
	}
	return engine.AdminToken(p.SecretKey), err
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
