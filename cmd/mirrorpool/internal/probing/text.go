package probing

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"time"

	"mirrorpool/cmd/mirrorpool/internal/term"
	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

// WriteText writes the result for people: a table with the endpoints of each mirror below its url_prefix, and
// what it comes to.
func (r *Result) WriteText(w io.Writer, colour bool) error {
	// All numbers share a cell, since tabwriter aligns all columns to the same side.
	table := term.Table{Columns: []string{fmt.Sprintf(numbers, "RESOLVE", "CONNECT", "TLS", "FIRST", "TOTAL", "CERT", "TRACE")}}
	for i := range r.Mirrors {
		m := &r.Mirrors[i]
		table.Mirrors = append(table.Mirrors, term.Mirror{Title: term.Title(m.URLPrefix, m.Name, m.Weight), Rows: m.rows()})
	}
	var text bytes.Buffer
	table.Write(&text, colour)
	fmt.Fprintln(&text)
	for _, line := range r.summary() {
		fmt.Fprintln(&text, line)
	}
	_, err := w.Write(text.Bytes())
	return err
}

// numbers is how wide the columns with numbers are.
const numbers = "%7s %7s %6s %6s %6s %5s %6s"

// rows are the mirror's lines of the table. A mirror without addresses has one too, to say why.
func (m *Mirror) rows() []term.Row {
	var rows []term.Row
	if !m.hasAddresses() {
		none := (&Endpoint{}).row()
		none.Role, none.Note = term.None, cmp.Or(m.Problem, "no address is known")
		rows = append(rows, none)
	}
	for i := range m.Endpoints {
		rows = append(rows, m.Endpoints[i].row())
	}
	return rows
}

// row is the endpoint's line of the table.
func (e *Endpoint) row() term.Row {
	row := term.Row{Address: term.None, Role: e.Role.String(), State: e.State, Note: e.Reason, Command: e.ShownBy}
	if e.Address != nil {
		row.Address = e.Address.String()
	}
	if row.Note == "" && e.Lag != nil && *e.Lag > 0 {
		row.Note = fmt.Sprintf("%s behind the reference, which is within max_lag", seconds(*e.Lag))
	}
	row.Cells = []string{fmt.Sprintf(numbers, term.Milliseconds(e.ResolveMS), term.Milliseconds(e.ConnectMS),
		term.Milliseconds(e.TLSMS),
		term.Milliseconds(e.FirstByteMS), term.Milliseconds(e.TotalMS), shortDays(e.CertDays), shortTrace(e.TraceAge))}
	return row
}

func shortDays(days *int) string {
	if days == nil {
		return term.None
	}
	if *days < 0 {
		return "ended"
	}
	return fmt.Sprintf("%dd", *days)
}

func shortTrace(age *int64) string {
	if age == nil {
		return term.None
	}
	return seconds(*age)
}

// seconds writes a number of seconds as an age.
func seconds(n int64) string { return admin.Age(time.Duration(n) * time.Second) }

// summary is what stands below the table.
func (r *Result) summary() []string {
	lines := []string{
		"Times are in ms; FIRST: until the first byte; CERT: what the certificate has left; TRACE: how old it is.",
		r.Reference.summary(r.At),
	}
	if r.Reference.Trace != nil {
		lines = append(lines, r.Reference.carriers())
	}
	for i := range r.Mirrors {
		if m := &r.Mirrors[i]; m.Files != nil {
			lines = append(lines, config.Printable(m.URLPrefix+": "+m.Files.text()+"."))
		}
	}
	for _, w := range append([]string{r.Reference.Problem}, r.Warnings...) {
		if w != "" {
			lines = append(lines, "Warning: "+config.Printable(w))
		}
	}
	if r.Suspect != "" {
		lines = append(lines, "Suspect: "+r.Suspect)
	}
	return append(lines, fmt.Sprintf("Up in all their roles: %d of %s.", r.Up, term.Count(r.Enabled, "enabled mirror")))
}

// summary describes the reference, at a time.
func (r *Reference) summary(now time.Time) string {
	switch {
	case r.Trace == nil && r.Source == FromURL:
		return "Reference: not known, so content is not judged."
	case r.Trace == nil:
		return "Reference: not known, so content is not judged: it takes mirrors with more than half of the weight."
	}
	origin := "carried or passed by most of the weight"
	if r.Source == FromURL {
		origin = "from " + FromURL
	}
	return fmt.Sprintf("Reference: %s, %s, %s.", r.Trace.Format(time.RFC3339), admin.Old(*r.Trace, now), origin)
}

// carriers says which mirrors carry the reference.
func (r *Reference) carriers() string {
	return fmt.Sprintf("Carried by %d of %s, %d of %d by weight (%.0f %%).",
		r.Mirrors, term.Count(r.Enabled, "enabled mirror"), r.Weight, r.EnabledWeight, 100*float64(r.Weight)/float64(max(1,
			r.EnabledWeight)))
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
			if m.Problem != "" { // which says why there are none
				done++
			}
		}
	}
	return done, total
}
