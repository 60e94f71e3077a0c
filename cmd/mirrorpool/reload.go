package main

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
)

func newReloadCommand() *cobra.Command {
	var client adminClient
	var confirm, dryRun bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running server read its configuration and list of mirrors again",
		Long: `Make a running server read its configuration and its list of mirrors again, and print what changed.

An update that takes away or moves more of the pool than mirrors_guard allows is held back, and so is a configuration without
dns.dnssec while the zone's parent has DS records, or without keys that validators still need; --confirm accepts all of
these. --dry-run prints what would change, and changes nothing. The server also reads the list of mirrors when it changes;
an update that it applied within the last ten minutes is printed too.

A reload puts all keys of the configuration in force, but for these, which need a restart:
  ` + strings.Join(config.RestartKeys(), ", ") + `

The exit code is 0 if all that is new is in force, or waits for a restart, and 1 if something was refused or held back.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if confirm && dryRun {
				return errors.New("want --confirm or --dry-run, not both")
			}
			query := url.Values{}
			if confirm {
				query.Set("confirm", "true")
			}
			if dryRun {
				query.Set("dry_run", "true")
			}
			var answer admin.ReloadAnswer
			if err := client.call(cmd.Context(), http.MethodPost, "/api/v1/reload", query, &answer); err != nil {
				return failed(err)
			}
			term.WriteReload(cmd.OutOrStdout(), cmd.ErrOrStderr(), &answer, time.Now())
			if !answer.OK {
				return &failure{code: exitFailure}
			}
			return nil
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&confirm, "confirm", false, "accept an update of the pool that is held back, and that signing is turned off or keys are replaced")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would change, and change nothing")
	return cmd
}
