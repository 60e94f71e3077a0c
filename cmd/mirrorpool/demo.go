package main

import (
	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/demo"
)

func newDemoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the whole program on three mirrors of its own, one of which fails now and then",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Version, _ = build()
			return failed(demo.Run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr()))
		},
	}
	cmd.Flags().StringVar(&o.DNS, "dns", "127.0.0.1:5300", "answer DNS at this `ADDRESS`")
	cmd.Flags().StringVar(&o.HTTP, "http", "127.0.0.1:8080", "answer HTTP at this `ADDRESS`")
	cmd.Flags().StringVar(&o.HTTPS, "https", "127.0.0.1:8443", "answer HTTPS at this `ADDRESS`")
	cmd.Flags().StringVar(&o.Admin, "admin", "127.0.0.1:8053", "answer the administrator at this `ADDRESS`")
	cmd.Flags().Uint16Var(&o.MirrorPort, "mirror-port", 8081, "the `PORT` of the three mirrors; 0 for any that is free")
	cmd.Flags().Uint16Var(&o.MirrorTLSPort, "mirror-tls-port", 8444, "their `PORT` for https; 0 for any that is free")
	return cmd
}
