package term

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool"
	"mirrorpool/dnspool/admin"
)

// WriteExplanation writes an explanation for people.
func WriteExplanation(w io.Writer, a *admin.ExplainAnswer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s.\n", placeText(a))
	scheme := "http"
	if a.Secure {
		scheme = "https"
	}
	fmt.Fprintf(&text, "Over %s, %s %s\n", scheme, config.Printable(a.Path), config.Printable(outcome(a)))
	switch {
	case a.Location == "":
	case a.Ends != nil:
		fmt.Fprintf(&text, "All clients in %s get the same mirror until %s.\n", a.Network, a.Ends.UTC().Format(time.DateTime+" MST"))
	default:
		fmt.Fprintln(&text, "The next request may get another mirror.")
	}
	if a.OtherFamily {
		fmt.Fprintf(&text, "No mirror can serve this client over %s, so mirrors with addresses of the other family are used.\n", a.Family)
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

// placeText says where the client is.
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
		return fmt.Sprintf("The location of %s is unknown, so distance does not count", a.Client)
	}
	text := a.Client.String() + " is " + strings.Join(parts, ", ")
	if a.Database != "" {
		text += ", as all of " + a.Database
	}
	if !a.Geo {
		text += ", which does not count"
	}
	return text
}

func explainedRow(m *dnspool.Explained) string {
	order, distance, border, far, near, points, share := None, None, None, None, None, None, None
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
	return strings.Join([]string{order, config.Printable(m.URLPrefix), cmp.Or(m.Country.String(), None), fmt.Sprint(m.Weight),
		distance, border, far, near, points, share, config.Printable(m.Why)}, "\t")
}
