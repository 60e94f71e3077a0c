package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/dnspool/stats"
)

const statsHelp = `Print the downloads of the latest days (stats.keep) by day, path, mirror or country.

A download is a redirect to a mirror for a GET without a range, or with one that begins at the first byte. By day, these are
printed apart: resumed (a GET of all from a later byte on: a download that goes on, or is tried again), segment (any other
part of a file), conditional (If-None-Match, If-Modified-Since) and head. Countries with fewer than 10 downloads in a day
are counted together, as are paths beyond the first 10,000 of a day; of a path that is not known to be published, the first
folder is counted. No address of a client is kept, nor anything made of one.

--since takes a date, such as 2026-11-01, or a duration, such as 30d for the latest 30 days. Days are those of UTC.`

func newStatsCommand() *cobra.Command {
	var client adminClient
	var asJSON, asCSV bool
	var since, by string
	cmd := &cobra.Command{
		Use:   "stats [--by path|mirror|country|day]",
		Short: "Print how many downloads there were, without anything of the clients",
		Long:  statsHelp,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && asCSV {
				return errors.New("want --json or --csv, not both")
			}
			query, err := statsQuery(by, since)
			if err != nil {
				return err
			}
			var text json.RawMessage
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/stats", query, &text); err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return failed(printJSON(out, text))
			}
			var report stats.Report
			if err := json.Unmarshal(text, &report); err != nil {
				return failed(fmt.Errorf("%s did not return numbers: %v", client.address, err))
			}
			if asCSV {
				return failed(term.WriteStatsCSV(out, &report))
			}
			return failed(term.WriteStats(out, &report))
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print a table of comma-separated values")
	cmd.Flags().StringVar(&since, "since", "", "the first day, or how long ago")
	cmd.Flags().StringVar(&by, "by", "day", "path, mirror, country or day")
	return cmd
}

// statsQuery is the query of a request for numbers.
func statsQuery(by, since string) (url.Values, error) {
	way, err := stats.ParseBy(by)
	if err != nil {
		return nil, fmt.Errorf("--by: %w", err)
	}
	query := url.Values{"by": {string(way)}}
	if since != "" {
		from, err := readSince(since, time.Now())
		if err != nil {
			return nil, err
		}
		query.Set("since", from.Format(time.RFC3339))
	}
	return query, nil
}
