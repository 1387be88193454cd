package main

import (
	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/target"
)

// oneServer says which server an experiment that has one is about: Cairn, unless
// another is named.
type oneServer struct{ cairn, minio string }

func (o *oneServer) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.cairn, "cairn", "bin/cairn", "Cairn's binary")
	f.StringVar(&o.minio, "minio", "", "MinIO's binary, to measure it instead")
}

func (o *oneServer) server() target.Server {
	if o.minio != "" {
		return target.MinIO(o.minio)
	}
	return target.Cairn(o.cairn)
}
