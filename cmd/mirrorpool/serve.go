package main

import (
	"errors"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/daemon"
)

func newServeCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the server until SIGINT or SIGTERM; SIGHUP reloads",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			version, _ := build()
			err := daemon.Serve(cmd.Context(), file, version, cmd.ErrOrStderr())
			if refused := (*daemon.ConfigError)(nil); errors.As(err, &refused) {
				return &failure{exitUsage, err}
			}
			return failed(err)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the server's configuration, a `FILE` such as mirrorpool.json")
	require(cmd, "config", "FILE")
	return cmd
}
