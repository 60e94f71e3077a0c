package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

func newStatusCommand() *cobra.Command {
	var client adminClient
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print what a running server thinks of every mirror",
		Long: `Print what a running server thinks of every mirror: each address in each role with its state, and the reason where
it is not up. Of a mirror that is not up throughout, the operators' address and the notes of the list are printed, too.

The exit code is 0 if the server has answered, whatever the state of the mirrors, and 1 if it has not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var text json.RawMessage
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/status", nil, &text); err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return failed(printJSON(out, text))
			}
			var status admin.Status
			if err := json.Unmarshal(text, &status); err != nil {
				return failed(fmt.Errorf("%s did not return a status: %v", client.address, err))
			}
			return failed(writeStatus(out, &status, time.Now(), colours(out)))
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is")
	return cmd
}

// writeStatus writes a status for people, as it is seen at a time.
func writeStatus(w io.Writer, s *admin.Status, now time.Time, colour bool) error {
	var text bytes.Buffer
	for _, line := range statusHeader(s, now) {
		fmt.Fprintln(&text, config.Printable(line))
	}
	rows := alignStatus(s, now)
	fmt.Fprintf(&text, "\n%s\n", rows[0])
	rows = rows[1:]
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		fmt.Fprintln(&text, config.Printable(statusTitle(m)))
		for _, e := range m.Endpoints {
			line := rows[0]
			rows = rows[1:]
			if note := cmp.Or(e.Reason, e.Warning); note != "" {
				line += "\n      " + config.Printable(note)
			}
			fmt.Fprintln(&text, paint(line, e.State, colour))
		}
		if len(m.Endpoints) == 0 {
			fmt.Fprintf(&text, "      %s\n", config.Printable(cmp.Or(m.Reason, "no address is known")))
		}
		for _, line := range contactLines(m) {
			fmt.Fprintf(&text, "      %s\n", config.Printable(line))
		}
	}
	_, err := w.Write(text.Bytes())
	return err
}

// contactLines are whom to write to about an enabled mirror that is not up throughout, and what the list notes of it.
func contactLines(m *admin.MirrorStatus) (lines []string) {
	troubled := len(m.Endpoints) == 0
	for _, e := range m.Endpoints {
		troubled = troubled || e.State == health.Down || e.State == health.Stale
	}
	if !troubled || m.Weight == 0 {
		return nil
	}
	if m.Email != "" {
		lines = append(lines, "operators: "+m.Email)
	}
	if m.Notes != "" {
		lines = append(lines, "notes: "+m.Notes)
	}
	return lines
}

// statusHeader is what is to be known of the pool as a whole.
func statusHeader(s *admin.Status, now time.Time) []string {
	eligible, enabled := 0, 0
	for _, m := range s.Mirrors {
		if m.Weight > 0 {
			enabled++
		}
		if len(m.Eligible) > 0 {
			eligible++
		}
	}
	lines := []string{
		fmt.Sprintf("Zone %s, serial %d: %d of %s eligible.", cmp.Or(s.Zone, "-"), s.Serial, eligible, count(enabled, "enabled mirror")),
		fmt.Sprintf("Enabled mirrors work: %v.", s.Works),
		fmt.Sprintf("Pool from %s, accepted %s.", s.Pool.Source, admin.Ago(s.Pool.Loaded, now)),
	}
	if !s.Ready {
		lines = append(lines, "Warning: the server does not answer yet, or its checks are overdue.")
	}
	for _, g := range s.Groups {
		if g.Panic {
			lines = append(lines, fmt.Sprintf("Warning: panic in role %s, %s: only %g of %g by weight is up.", g.Role, g.Family, g.UpWeight, g.EnabledWeight-g.NewcomerWeight))
		}
	}
	if s.Suspect != "" {
		lines = append(lines, "Warning: suspect is the "+s.Suspect+", because most mirrors began to fail together.")
	}
	if s.Pool.Held != nil {
		lines = append(lines, "Warning: an update of the pool is held back; see it with 'mirrorpool reload'.")
	}
	if s.Pool.Error != "" {
		lines = append(lines, "Warning: "+s.Pool.Error)
	}
	for _, f := range s.Notify {
		lines = append(lines, feedProblem("NOTIFY", f, now)...)
	}
	for _, f := range s.Publish {
		lines = append(lines, feedProblem("publishing", f, now)...)
	}
	if s.Reference.Trace != nil {
		lines = append(lines, fmt.Sprintf("The reference is %s, and carried by %d of %s.",
			admin.Old(*s.Reference.Trace, now), s.Reference.Mirrors, count(s.Reference.Enabled, "enabled mirror")))
	}
	return lines
}

// feedProblem is a line on a server that cannot be fed, or none.
func feedProblem(what string, f admin.FeedStatus, now time.Time) []string {
	if f.Problem == "" {
		return nil
	}
	return []string{fmt.Sprintf("Warning: %s has failed for %s: %s", what, ageOrDash(f.Since, now), f.Problem)}
}

func statusTitle(m *admin.MirrorStatus) string {
	title := m.URLPrefix
	if m.Name != "" {
		title += "  " + m.Name
	}
	if m.Weight == 0 {
		return title + "  disabled"
	}
	serves := strings.Join(m.Eligible, " and ")
	return fmt.Sprintf("%s  weight %d, serves %s", title, m.Weight, cmp.Or(serves, "nothing"))
}

// alignStatus returns the titles of the columns, and a line for each endpoint.
func alignStatus(s *admin.Status, now time.Time) []string {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  ADDRESS\tROLE\tSTATE\tSINCE\tCHECKED\tLATENCY\tTRACE")
	for _, m := range s.Mirrors {
		for _, e := range m.Endpoints {
			address := "-"
			if e.Address.IsValid() {
				address = e.Address.String()
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", address, e.Role, e.State,
				ageOrDash(e.Since, now), ageOrDash(e.Checked, now), latency(e.LatencyMS), ageOrDash(e.Trace, now))
		}
	}
	table.Flush()
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

func latency(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return shortMS(ms) + " ms"
}

// ageOrDash is how long ago t was, for a table.
func ageOrDash(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return admin.Age(now.Sub(*t))
}
