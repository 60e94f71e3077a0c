package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/mail"
)

func newMailCommand() *cobra.Command {
	var client adminClient
	var dryRun, test bool
	cmd := &cobra.Command{
		Use:   "mail --dry-run|--test",
		Short: "Print the mails that a running server would send, or have it send a test",
		Long: `With --dry-run, print the mails that wait to be sent by a running server, and those that it would send now; nothing is sent.
With --test, have it send a mail to the team (mail.team).

The exit code is 0 if the server has answered and, with --test, the SMTP server has taken the mail; else 1.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun == test {
				return errors.New("want --dry-run or --test")
			}
			if test {
				var answer admin.TestMailAnswer
				if err := client.call(cmd.Context(), http.MethodPost, "/api/v1/mail/test", nil, &answer); err != nil {
					return failed(err)
				}
				if !answer.OK {
					return failed(errors.New(answer.Error))
				}
				fmt.Fprintln(cmd.OutOrStdout(), "sent")
				return nil
			}
			var status mail.Status
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/mail", nil, &status); err != nil {
				return failed(err)
			}
			if !status.Configured {
				return failed(errors.New("mail is not configured: see the section mail of the configuration"))
			}
			return failed(term.WriteMails(cmd.OutOrStdout(), &status))
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be sent, and send nothing")
	cmd.Flags().BoolVar(&test, "test", false, "send a mail to the team")
	return cmd
}
