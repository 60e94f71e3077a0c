package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
)

func newExplainCommand() *cobra.Command {
	var client adminClient
	var address string
	var secure, asJSON bool
	cmd := &cobra.Command{
		Use:   "explain --client IP [PATH]",
		Short: "Print what a client would be sent to by a running server, and why",
		Long: `Print what a client would be sent to by a running server, and why each other mirror lost.

How far a mirror is comes from its distance and from what lies between the two networks, both in km:
FAR = 100 + DISTANCE + BORDER. POINTS = WEIGHT * NEAR, and SHARE is how many of the clients at this place it gets,
in proportion to the points as far as max_share allows.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := netip.ParseAddr(address); err != nil {
				return &failure{exitUsage, fmt.Errorf("want an IP address after --client, got %q", address)}
			}
			query := url.Values{"client": {address}, "secure": {fmt.Sprint(secure)}}
			if len(args) > 0 {
				query.Set("path", "/"+strings.TrimPrefix(args[0], "/"))
			}
			var text json.RawMessage
			if err := client.call(cmd.Context(), http.MethodGet, "/api/v1/explain", query, &text); err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return failed(printJSON(out, text))
			}
			var answer admin.ExplainAnswer
			if err := json.Unmarshal(text, &answer); err != nil {
				return failed(fmt.Errorf("%s did not return an explanation: %v", client.address, err))
			}
			return failed(writeExplanation(out, &answer))
		},
	}
	client.flags(cmd)
	cmd.Flags().StringVar(&address, "client", "", "the client's address")
	cmd.MarkFlagRequired("client")
	cmd.Flags().BoolVar(&secure, "https", false, "as if it asked over https")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the server's answer as it is")
	return cmd
}

// explain is what /api/v1/explain tells.
func (s *server) explain(q admin.ExplainQuestion) admin.ExplainAnswer {
	q.Path = cmp.Or(q.Path, s.config.Load().HTTP.BasePath)
	a := admin.ExplainAnswer{Client: q.Client, Path: q.Path, Network: dnspool.ClientNetwork(q.Client)}
	answer, explanation, err := s.handler.Explain(q.Client, q.Secure, q.Path)
	a.Status, a.Location, a.Content, a.Explanation = answer.Status, answer.Location, answer.What, explanation
	if err != nil {
		a.Problem = err.Error()
	}
	if begin, end, ok := s.handler.Window(q.Client); ok {
		a.Begins, a.Ends = &begin, &end
	}
	if network := a.Explanation.Place.Network; network.IsValid() {
		a.Database = network.String()
	}
	return a
}

// writeExplanation writes an explanation for people.
func writeExplanation(w io.Writer, a *admin.ExplainAnswer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s is %s.\n", a.Client, placeText(a))
	scheme := "http"
	if a.Secure {
		scheme = "https"
	}
	fmt.Fprintf(&text, "Over %s, %s %s\n", scheme, config.Printable(a.Path), config.Printable(outcome(a)))
	if a.Ends != nil {
		fmt.Fprintf(&text, "All of %s meet the same mirror until %s.\n", a.Network, a.Ends.UTC().Format(time.DateTime+" MST"))
	} else {
		fmt.Fprintln(&text, "The next request may meet another mirror.")
	}
	if a.OtherFamily {
		fmt.Fprintf(&text, "No mirror may serve this client over %s: those that have an address of the other family do.\n", a.Family)
	}
	fmt.Fprintln(&text)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "#\tMIRROR\tCOUNTRY\tWEIGHT\tDISTANCE\tBORDER\tFAR\tNEAR\tPOINTS\tSHARE\tWHY")
	for i := range a.Mirrors {
		fmt.Fprintln(table, explainedRow(&a.Mirrors[i]))
	}
	table.Flush()
	_, err := w.Write(text.Bytes())
	return err
}

// outcome says what the client gets.
func outcome(a *admin.ExplainAnswer) string {
	switch {
	case a.Location != "":
		return "leads to " + a.Location
	case a.Content != "":
		return fmt.Sprintf("is answered here, with %s (%d)", a.Content, a.Status)
	default:
		return fmt.Sprintf("leads to nothing: %s (%d)", a.Problem, a.Status)
	}
}

func placeText(a *admin.ExplainAnswer) string {
	var parts []string
	p := &a.Explanation.Place
	if country := p.Country.String(); country != "" {
		parts = append(parts, "in "+country)
	}
	if continent := p.Continent.String(); continent != "" {
		parts = append(parts, "on the continent "+continent)
	}
	if p.HasPosition {
		parts = append(parts, fmt.Sprintf("at %.2f, %.2f", p.Latitude, p.Longitude))
	}
	if p.ASN != 0 {
		parts = append(parts, fmt.Sprintf("in AS%d", p.ASN))
	}
	if len(parts) == 0 {
		return "at a place that is not known, so that no mirror is nearer than another"
	}
	text := strings.Join(parts, ", ")
	if a.Database != "" {
		text += ", as all of " + a.Database
	}
	if !a.Geo {
		text += ", which does not count"
	}
	return text
}

func explainedRow(m *dnspool.Explained) string {
	order, distance, border, far, near, points, share := "-", "-", "-", "-", "-", "-", "-"
	if m.Order > 0 {
		order = fmt.Sprint(m.Order)
		near, points, share = fmt.Sprintf("%.2f", m.Nearness), fmt.Sprintf("%.2f", m.Points), fmt.Sprintf("%.1f %%", 100*m.Share)
		if m.Capped {
			share += " max"
		}
	}
	if m.Distance >= 0 {
		distance, border, far = fmt.Sprintf("%.0f km", m.Distance), fmt.Sprintf("%.0f", m.Border), fmt.Sprintf("%.0f", m.Far)
	}
	return strings.Join([]string{order, config.Printable(m.URLPrefix), cmp.Or(m.Country.String(), "-"), fmt.Sprint(m.Weight),
		distance, border, far, near, points, share, config.Printable(m.Why)}, "\t")
}
