package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

// writeText writes the result for people: a table with the endpoints of each mirror below its url_prefix, and
// what it comes to.
func (r *probeResult) writeText(w io.Writer, colour bool) error {
	var text bytes.Buffer
	lines := alignRows(r.Mirrors)
	fmt.Fprintln(&text, lines[0])
	lines = lines[1:]
	for i := range r.Mirrors {
		m := &r.Mirrors[i]
		fmt.Fprintln(&text, m.title())
		for _, row := range m.rows() {
			line := lines[0]
			lines = lines[1:]
			if row.note != "" {
				line += "\n      " + config.Printable(row.note)
			}
			fmt.Fprintln(&text, paint(line, row.State, colour))
		}
	}
	fmt.Fprintln(&text)
	for _, line := range r.summary() {
		fmt.Fprintln(&text, line)
	}
	_, err := w.Write(text.Bytes())
	return err
}

// A probeRow is a line of the table, with what is to be said below it.
type probeRow struct {
	probedEndpoint
	role string
	note string
}

// rows are the mirror's lines of the table. A mirror without addresses has one too, to tell why.
func (m *probedMirror) rows() []probeRow {
	var rows []probeRow
	if !m.hasAddresses() {
		rows = append(rows, probeRow{role: "-", note: cmp.Or(m.Problem, "no address is known")})
	}
	for _, e := range m.Endpoints {
		note := e.Reason
		if note == "" && e.Lag != nil && *e.Lag > 0 {
			note = fmt.Sprintf("%s behind the reference, which is within max_lag", seconds(*e.Lag))
		}
		rows = append(rows, probeRow{e, e.Role.String(), note})
	}
	return rows
}

// title is the line above a mirror's endpoints.
func (m *probedMirror) title() string {
	title := m.URLPrefix
	if m.Name != "" {
		title += "  " + m.Name
	}
	if m.Weight == 0 {
		return title + "  disabled"
	}
	return fmt.Sprintf("%s  weight %d", title, m.Weight)
}

// alignRows returns the table's lines: the one with the titles of the columns, and one for each row.
func alignRows(mirrors []probedMirror) []string {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	const numbers = "%7s %7s %6s %6s %6s %5s %6s" // tabwriter aligns all columns to the same side
	fmt.Fprintf(table, "  ADDRESS\tROLE\tSTATE\t"+numbers+"\n", "RESOLVE", "CONNECT", "TLS", "FIRST", "TOTAL", "CERT", "TRACE")
	for i := range mirrors {
		for _, row := range mirrors[i].rows() {
			address := "-"
			if row.Address != nil {
				address = row.Address.String()
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\t"+numbers+"\n", address, row.role, row.State,
				shortMS(row.ResolveMS), shortMS(row.ConnectMS), shortMS(row.TLSMS), shortMS(row.FirstByteMS), shortMS(row.TotalMS),
				shortDays(row.CertDays), shortTrace(row.TraceAge))
		}
	}
	table.Flush()
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

// shortMS is a time for the table: "-" where there is none.
func shortMS(ms float64) string {
	switch {
	case ms == 0:
		return "-"
	case ms < 99.95:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	default:
		return strconv.FormatFloat(math.Round(ms), 'f', 0, 64)
	}
}

func shortDays(days *int) string {
	if days == nil {
		return "-"
	}
	if *days < 0 {
		return "ended"
	}
	return fmt.Sprintf("%dd", *days)
}

func shortTrace(age *int64) string {
	if age == nil {
		return "-"
	}
	return seconds(*age)
}

// seconds writes a number of seconds as an age.
func seconds(n int64) string { return admin.Age(time.Duration(n) * time.Second) }

// paint colours a line by a state that is not up, if colours are wanted.
func paint(line string, state health.State, colour bool) string {
	switch {
	case !colour || state == health.Up:
		return line
	case state == health.Down:
		return "\x1b[31m" + line + "\x1b[0m"
	default:
		return "\x1b[33m" + line + "\x1b[0m"
	}
}

// summary is what stands below the table.
func (r *probeResult) summary() []string {
	lines := []string{
		"Times are in ms; FIRST: until the first byte; CERT: what the certificate has left; TRACE: how old it is.",
		r.Reference.summary(r.At),
	}
	if r.Reference.Trace != nil {
		lines = append(lines, r.Reference.carriers())
	}
	for _, w := range append([]string{r.Reference.Problem}, r.Warnings...) {
		if w != "" {
			lines = append(lines, "Warning: "+config.Printable(w))
		}
	}
	if r.Suspect != "" {
		lines = append(lines, "Suspect: "+r.Suspect)
	}
	return append(lines, fmt.Sprintf("Up in all their roles: %d of %s.", r.Up, count(r.Enabled, "enabled mirror")))
}

// summary tells the reference, at a time.
func (r *probedReference) summary(now time.Time) string {
	switch {
	case r.Trace == nil && r.Source == fromURL:
		return "Reference: not known, so content is not judged."
	case r.Trace == nil:
		return "Reference: not known, so content is not judged: it takes mirrors with more than half of the weight."
	}
	origin := "carried or passed by most of the weight"
	if r.Source == fromURL {
		origin = "from " + fromURL
	}
	return fmt.Sprintf("Reference: %s, %s, %s.", r.Trace.Format(time.RFC3339), admin.Old(*r.Trace, now), origin)
}

// carriers tells who carries the reference.
func (r *probedReference) carriers() string {
	return fmt.Sprintf("Carried by %d of %s, %d of %d by weight (%.0f %%).",
		r.Mirrors, count(r.Enabled, "enabled mirror"), r.Weight, r.EnabledWeight, 100*float64(r.Weight)/float64(max(1, r.EnabledWeight)))
}

// count is a number of things: "1 mirror", "2 mirrors".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// A progress shows on a terminal how far a sweep has come, in one line that is rewritten.
type progress struct {
	w     io.Writer
	on    bool
	shown bool
}

func (p *progress) show(r *health.Report) {
	if !p.on {
		return
	}
	done, total := sweepProgress(r)
	fmt.Fprintf(p.w, "\r%d of %d checked\x1b[K", done, total)
	p.shown = true
}

// clear removes the line.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// sweepProgress counts the endpoints that are known so far, and those of them that were checked. A mirror whose
// addresses are not known yet has one for now.
func sweepProgress(r *health.Report) (done, total int) {
	add := func(e *health.Endpoint) {
		total++
		if !e.Checked.IsZero() {
			done++
		}
	}
	for _, m := range r.Mirrors {
		for i := range m.Endpoints {
			add(&m.Endpoints[i])
		}
		if m.Rsync != nil {
			add(m.Rsync)
		}
		if len(m.Endpoints) == 0 {
			total++
			if m.Problem != "" { // which tells why there are none
				done++
			}
		}
	}
	return done, total
}
