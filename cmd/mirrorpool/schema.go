package main

import (
	"github.com/spf13/cobra"

	"mirrorpool/config"
)

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema mirrors|config",
		Short:     "Print the JSON Schema of mirrors.json or mirrorpool.json",
		Args:      cobra.MatchAll(wantArgs("want the kind of file: mirrors or config", 1, 1), cobra.OnlyValidArgs),
		ValidArgs: []string{"mirrors", "config"},
		RunE: func(cmd *cobra.Command, args []string) error {
			schema := config.MirrorsSchema()
			if args[0] == "config" {
				schema = config.ServerSchema()
			}
			_, err := cmd.OutOrStdout().Write(schema)
			return failed(err)
		},
	}
}
