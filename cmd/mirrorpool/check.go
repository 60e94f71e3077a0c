package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mirrorpool/config"
)

func newCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Validate mirrors.json or mirrorpool.json files",
		Long: `Validate files of either kind, mirrors.json or mirrorpool.json, and print what is wrong with them:

  file:line:column: /json/pointer: what is wrong, what would be right

The exit code is 0 if all files are valid, and 2 if one is not. Warnings do not count.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			valid := true
			for _, file := range files {
				kind, warnings, err := config.CheckFile(file)
				for _, w := range warnings {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v\n", w)
				}
				for _, e := range config.Errors(err) {
					fmt.Fprintln(cmd.ErrOrStderr(), e)
				}
				if err != nil {
					valid = false
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: valid %s\n", file, kind)
			}
			if !valid {
				return &failure{code: exitUsage}
			}
			return nil
		},
	}
}
