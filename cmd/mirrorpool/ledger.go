package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
	"mirrorpool/health/ledger"
)

func newLedgerCommand() *cobra.Command {
	var client adminClient
	var asJSON, asCSV bool
	var since string
	cmd := &cobra.Command{
		Use:   "ledger [MIRROR]",
		Short: "Print what was wrong with each mirror in half a year",
		Long: `Print the incidents of a mirror, or of all, of the latest 180 days: what was wrong, where, from when to when, how often it
came and went, who or what noticed it first (a check, a listing of its files, or a person), and the reason. MIRROR is its
url_prefix, name or host; a mirror that is gone from the list is named by its url_prefix.

--since takes a date, such as 2026-11-01, or a duration, such as 30d.`,
		Args: wantArgs("want at most one MIRROR: its url_prefix, name or host", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && asCSV {
				return fmt.Errorf("want --json or --csv, not both")
			}
			query := url.Values{"mirror": args}
			if since != "" {
				from, err := readSince(since, time.Now())
				if err != nil {
					return err
				}
				query.Set("since", from.Format(time.RFC3339))
			}
			var text json.RawMessage
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/ledger", query, &text); err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return failed(printJSON(out, text))
			}
			var list []ledger.Summary
			if err := json.Unmarshal(text, &list); err != nil {
				return failed(fmt.Errorf("%s did not return a ledger: %v", client.address, err))
			}
			if asCSV {
				return failed(term.WriteLedgerCSV(out, list, time.Now()))
			}
			return failed(term.WriteLedger(out, list, time.Now()))
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print a table of comma-separated values, an incident in a line")
	cmd.Flags().StringVar(&since, "since", "", "leave out what ended before this date or duration")
	return cmd
}

// readSince reads a date, or a duration before now.
func readSince(text string, now time.Time) (time.Time, error) {
	if d, err := config.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return day, fmt.Errorf("want --since with a date such as 2026-11-01, or a duration such as 30d, got %q", text)
	}
	return day, nil
}
