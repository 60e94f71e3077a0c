package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/health/files"
)

func newFilesCommand() *cobra.Command {
	var client adminClient
	cmd := &cobra.Command{
		Use:   "files MIRROR",
		Short: "List the files that a mirror lacks",
		Long: `List the files that a mirror lacks, one per line: the state and the path. MIRROR is its url_prefix, name or host.

The states are: lacks; other size (or another time, of a file that is rewritten in place); not known (the file is newer than
the latest listing of the mirror). The exit code is 0 if the mirror lacks nothing, and 1 if it does or nothing is known.`,
		Args: wantArgs("want one MIRROR: its url_prefix, name or host", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var lacks files.MirrorLacks
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/lacks", url.Values{"mirror": args}, &lacks); err != nil {
				return failed(err)
			}
			if err := term.WriteLacks(cmd.OutOrStdout(), &lacks); err != nil {
				return failed(err)
			}
			if lacks.Problem != "" {
				return failed(fmt.Errorf("%s: %s", lacks.URLPrefix, lacks.Problem))
			}
			if lacks.Count > 0 {
				return &failure{code: exitFailure}
			}
			return nil
		},
	}
	client.flags(cmd)
	return cmd
}
