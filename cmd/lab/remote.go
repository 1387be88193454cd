package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/load"
)

// A remote is a server that somebody else runs, as flags describe it.
type remote struct {
	as    load.Target // without its address
	trust load.Trust
}

func (r *remote) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.as.Access, "access", os.Getenv("AWS_ACCESS_KEY_ID"), "access key of a running server (default $AWS_ACCESS_KEY_ID)")
	f.StringVar(&r.as.Secret, "secret", "", "secret key of a running server (default $AWS_SECRET_ACCESS_KEY)")
	f.StringVar(&r.as.Region, "region", "us-east-1", "region to sign for")
	f.StringVar(&r.trust.CA, "ca", "", "PEM file of the authorities, or of the server's own certificate, to trust instead of the system's (https)")
	f.BoolVar(&r.trust.Insecure, "insecure", false, "accept any certificate, as of a test server that signs its own (https)")
}

// target is the server at a URL.
func (r *remote) target(url string) (load.Target, error) {
	as := r.as
	if as.Secret == "" {
		as.Secret = os.Getenv("AWS_SECRET_ACCESS_KEY")
	}
	return as.At(url, r.trust)
}

// withTrustHelp adds to a certificate's refusal what can be done about it.
func withTrustHelp(err error) error {
	switch untrusted, name := load.Untrusted(err); {
	case name:
		return fmt.Errorf("%w: call the server by a name that its certificate has, or accept any with --insecure", err)
	case untrusted:
		return fmt.Errorf("%w: name the PEM file of who signed its certificate with --ca, or accept any with --insecure", err)
	}
	return err
}

// maxRequests is the bound that ends a load that went wrong.
func maxRequests(cmd *cobra.Command, n *int64) {
	cmd.Flags().Int64Var(n, "max-requests", load.DefaultMaxRequests, "end a load that went wrong after so many measured requests, and say so")
}
