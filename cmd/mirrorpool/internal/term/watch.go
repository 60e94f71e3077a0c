package term

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
)

// WriteView writes what a watcher sees, for people, as it is known at a time.
func WriteView(w io.Writer, v *admin.WatcherView, now time.Time, colour bool) error {
	var text bytes.Buffer
	switch {
	case v.Stopped:
		fmt.Fprintf(&text, "The watcher %s was stopped %s; this is what it said last.\n", config.Printable(v.Name), admin.Ago(v.Since, now))
	case !v.Alive:
		fmt.Fprintf(&text, "The watcher %s has been gone for %s; this is what it said last.\n", config.Printable(v.Name), admin.Age(now.Sub(v.Since)))
	case v.Heard != nil:
		fmt.Fprintf(&text, "As the watcher %s sees them, heard %s.\n", config.Printable(v.Name), admin.Ago(*v.Heard, now))
	default:
		fmt.Fprintf(&text, "As the watcher %s, the server that was asked, sees them.\n", config.Printable(v.Name))
	}
	if v.Suspects != "" {
		fmt.Fprintf(&text, "It suspects its own host: %s.\n", config.Printable(v.Suspects))
	}
	fmt.Fprintln(&text)
	var table Table
	for i := range v.Seen {
		m := &v.Seen[i]
		part := Mirror{Title: Title(m.URLPrefix, m.Name, m.Weight)}
		for _, e := range m.Endpoints {
			row := Row{Address: None, Role: e.Role.String(), State: e.State, Note: e.Reason}
			if e.Address.IsValid() {
				row.Address = e.Address.String()
			}
			part.Rows = append(part.Rows, row)
		}
		if len(m.Endpoints) == 0 {
			part.Notes = append(part.Notes, "it says nothing of this one")
		}
		if m.OtherFiles {
			part.Notes = append(part.Notes, "carries other files of the newest release than this server knows of")
		}
		table.Mirrors = append(table.Mirrors, part)
	}
	table.Write(&text, colour)
	_, err := w.Write(text.Bytes())
	return err
}
