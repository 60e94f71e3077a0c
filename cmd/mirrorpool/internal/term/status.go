package term

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

// WriteStatus writes a status for people, as it is seen at a time.
func WriteStatus(w io.Writer, s *admin.Status, now time.Time, colour bool) error {
	var text bytes.Buffer
	for _, line := range statusHeader(s, now) {
		fmt.Fprintln(&text, config.Printable(line))
	}
	fmt.Fprintln(&text)
	writeMirrors(&text, s, now, colour)
	_, err := w.Write(text.Bytes())
	return err
}

// WriteMirror writes the mirrors of a status for people, and how each did in half a year, without the pool as a whole.
func WriteMirror(w io.Writer, s *admin.Status, now time.Time, colour bool) error {
	var text bytes.Buffer
	writeMirrors(&text, s, now, colour)
	for i := range s.Mirrors {
		if known := s.Mirrors[i].Ledger; known != nil {
			fmt.Fprintf(&text, "%s%s\n", indent, known.Text(now))
		}
	}
	_, err := w.Write(text.Bytes())
	return err
}

// writeMirrors writes a table of the mirrors.
func writeMirrors(w io.Writer, s *admin.Status, now time.Time, colour bool) {
	table := Table{Columns: []string{"SINCE", "CHECKED", "LATENCY", "TRACE"}}
	for i := range s.Mirrors {
		part := statusMirror(&s.Mirrors[i], now)
		if text := s.Verification.Text(s.Mirrors[i].URLPrefix); text != "" {
			part.Notes = append(part.Notes, text)
		}
		table.Mirrors = append(table.Mirrors, part)
	}
	table.Write(w, colour)
}

// releaseFiles is how many files of a release are shown.
const releaseFiles = 5

// statusMirror is a mirror's part of the table.
func statusMirror(m *admin.MirrorStatus, now time.Time) Mirror {
	part := Mirror{Title: Title(m.URLPrefix, m.Name, m.Weight)}
	if m.Weight > 0 {
		part.Title += ", serves " + cmp.Or(strings.Join(m.Eligible, " and "), "nothing")
	}
	for _, e := range m.Endpoints {
		address, latency := None, Milliseconds(e.LatencyMS)
		if e.Address.IsValid() {
			address = e.Address.String()
		}
		if latency != None {
			latency += " ms"
		}
		part.Rows = append(part.Rows, Row{
			Address: address, Role: e.Role.String(), State: e.State, Note: e.Note(),
			Cells: []string{Since(e.Since, now), Since(e.Checked, now), latency, Since(e.Trace, now)},
		})
	}
	if len(m.Endpoints) == 0 {
		part.Notes = append(part.Notes, cmp.Or(m.Reason, "no address is known"))
	}
	part.Notes = append(part.Notes, m.OverrideTexts()...)
	if m.Lacks != "" {
		part.Notes = append(part.Notes, m.Lacks)
	}
	part.Notes = append(part.Notes, contactLines(m)...)
	return part
}

// Title is the line above a mirror's endpoints.
func Title(urlPrefix, name string, weight uint32) string {
	title := urlPrefix
	if name != "" {
		title += "  " + name
	}
	if weight == 0 {
		return title + "  disabled"
	}
	return fmt.Sprintf("%s  weight %d", title, weight)
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
		fmt.Sprintf("Zone %s, serial %d: %d of %s eligible.", cmp.Or(s.Zone, "-"), s.Serial, eligible,
			Count(enabled, "enabled mirror")),
		fmt.Sprintf("Enabled mirrors work: %v.", s.Works),
		fmt.Sprintf("Pool from %s, accepted %s.", s.Pool.Source, admin.Ago(s.Pool.Loaded, now)),
	}
	lines = append(lines, statusWarnings(s, now)...)
	if s.Reference.Trace != nil {
		lines = append(lines, fmt.Sprintf("The reference is %s, and carried by %d of %s.",
			admin.Old(*s.Reference.Trace, now), s.Reference.Mirrors, Count(s.Reference.Enabled, "enabled mirror")))
	}
	if s.DNSSEC != nil && s.Ready {
		if trouble := s.DNSSEC.Trouble(now); trouble != "" {
			lines = append(lines, "Warning: "+trouble)
		}
	}
	if s.Watch != nil {
		lines = append(lines, "Watchers: "+s.Watch.Text()+".")
		for _, problem := range s.Watch.Problems(now) {
			lines = append(lines, "Warning: "+problem)
		}
	}
	for i := range s.Certificates {
		if trouble := s.Certificates[i].Trouble(now); trouble != "" {
			lines = append(lines, "Warning: "+trouble)
		}
	}
	if s.Files.OriginProblem != "" {
		lines = append(lines, "Warning: files.origin cannot be read: "+s.Files.OriginProblem)
	}
	lines = append(lines, s.ReleaseLines(now, releaseFiles)...)
	return lines
}

// statusWarnings are what is wrong with the server, the pool as a whole, and what feeds others.
func statusWarnings(s *admin.Status, now time.Time) (lines []string) {
	if !s.Ready {
		lines = append(lines, "Warning: the server does not answer yet, or its checks are overdue.")
	}
	for _, g := range s.Groups {
		if g.Panic {
			lines = append(lines, fmt.Sprintf("Warning: panic in role %s, %s: only %g of %g by weight is up.", g.Role, g.Family,
				g.UpWeight, g.EnabledWeight-g.NewcomerWeight))
		}
	}
	for _, suspect := range s.Suspects {
		lines = append(lines, "Warning: suspect: "+suspect.Name+". As seen from this host, "+suspect.Text+".")
	}
	for i := range s.GoneOverrides {
		o := &s.GoneOverrides[i]
		lines = append(lines, fmt.Sprintf("Warning: %s is not in the list, and for %s %s", o.Mirror, o.Role, o))
	}
	if s.Pool.Held != nil {
		lines = append(lines, "Warning: an update of the pool is held back; "+
			"'mirrorpool reload --dry-run' shows it, 'mirrorpool reload --confirm' accepts it.")
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
	return lines
}

// feedProblem is a line on a server that cannot be fed, or none.
func feedProblem(what string, f admin.FeedStatus, now time.Time) []string {
	if f.Problem == "" {
		return nil
	}
	return []string{fmt.Sprintf("Warning: %s has failed for %s: %s", what, Since(f.Since, now), f.Problem)}
}
