package term

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health/ledger"
)

// WriteLedger writes the incidents of mirrors for people.
func WriteLedger(w io.Writer, list []ledger.Summary, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range list {
		s := &list[i]
		known := admin.LedgerStatus{First: s.First, Uptime30: s.Uptime30, Uptime180: s.Uptime180, Failures: s.Failures, Longest: s.Longest, Latest: s.Latest}
		fmt.Fprintf(table, "%s\n  %s\n", config.Printable(s.URLPrefix), known.Text(now))
		for _, in := range s.Incidents {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\n", in.Kind, in.Since.UTC().Format(time.DateTime), lengthText(&in, now),
				config.Printable(strings.Join(in.Where, ", ")), config.Printable(in.Noticed+": "+in.Reason))
		}
	}
	return table.Flush()
}

// lengthText is how long an incident has lasted, and how often it came.
func lengthText(i *ledger.Incident, now time.Time) string {
	text := admin.Age(i.Length(now))
	if i.Open() {
		text += " so far"
	}
	if i.Times > 1 {
		text += fmt.Sprintf(", %d times", i.Times)
	}
	return text
}

// WriteLedgerCSV writes an incident in each line, below the names of the columns.
func WriteLedgerCSV(w io.Writer, list []ledger.Summary, now time.Time) error {
	out := csv.NewWriter(w)
	lines := [][]string{{"url_prefix", "kind", "since", "until", "seconds", "times", "noticed", "where", "reason"}}
	for i := range list {
		for _, in := range list[i].Incidents {
			until := ""
			if !in.Open() {
				until = in.Until.UTC().Format(time.RFC3339)
			}
			lines = append(lines, []string{
				cell(list[i].URLPrefix), cell(string(in.Kind)), in.Since.UTC().Format(time.RFC3339), until,
				strconv.FormatFloat(in.Length(now).Seconds(), 'f', 0, 64), strconv.Itoa(in.Times), cell(in.Noticed),
				cell(strings.Join(in.Where, ", ")), cell(in.Reason),
			})
		}
	}
	return out.WriteAll(lines)
}

// cell makes a text safe for a spreadsheet, which would take one that begins like a formula for that.
func cell(text string) string {
	text = config.Printable(text)
	if strings.ContainsAny(text[:min(len(text), 1)], "=+-@") {
		return "'" + text
	}
	return text
}
