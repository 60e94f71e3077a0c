package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/checking"
	"mirrorpool/config"
)

func newCheckCommand() *cobra.Command {
	var as string
	flags := checking.Options{Format: checking.Text}
	cmd := &cobra.Command{
		Use:   "check FILE...",
		Short: "Validate mirrors.json or mirrorpool.json files",
		Long: `Validate files of either kind, mirrors.json or mirrorpool.json, and print what is wrong with them:

  file:line:column: /json/pointer: what is wrong, what would be right

"-" reads standard input. Given files of both kinds, check also looks for names in the one that the other uses for
something else. It opens what a mirrorpool.json names, as the server would: the list of mirrors, the zone file, keys,
the token, the certificate, databases, state_dir and a folder in files.origin. --text-only leaves them alone, for a CI that does not have them.

Warnings of one kind share a line, which ends in the kind's name; unknown keys have one for each name. They count with
--strict only.
--format json, github and gitlab list each one, for the CI of the repository in which mirrors.json is kept.

The exit code is 0 if all files are valid, and 2 if one is not.`,
		Args: wantArgs("want at least one FILE, or \"-\" for standard input", 1, math.MaxInt),
		RunE: func(cmd *cobra.Command, files []string) error {
			if unknown := unknownKind(flags.Allow); unknown != "" {
				return fmt.Errorf("--allow %s: no such kind of warning; want one of %v", unknown, config.WarningKinds())
			}
			if as != "" {
				return runAs(cmd, as)
			}
			report := checking.Files(files, cmd.InOrStdin(), flags)
			if err := report.Write(cmd.OutOrStdout(), cmd.ErrOrStderr()); err != nil {
				return failed(err)
			}
			if !report.Valid() {
				return &failure{code: exitUsage}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&flags.Strict, "strict", false, "take warnings for errors")
	f.BoolVar(&flags.TextOnly, "text-only", false, "do not open the files that a mirrorpool.json names")
	f.StringVar(&as, "as", "", "check as this `USER`, with whose rights the server will run; needs root")
	f.StringSliceVar(&flags.Allow, "allow", nil, "leave out warnings of this `KIND`; may be repeated")
	f.Var(&flags.Format, "format", "text, json, github (annotations) or gitlab (code quality report)")
	return cmd
}

// unknownKind returns the first of names that is no kind of warning, or "".
func unknownKind(names []string) string {
	for _, name := range names {
		if !slices.Contains(config.WarningKinds(), config.WarningKind(name)) {
			return name
		}
	}
	return ""
}
