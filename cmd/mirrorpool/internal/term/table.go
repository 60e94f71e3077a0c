package term

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"mirrorpool/config"
	"mirrorpool/health"
)

// A Table shows mirrors, each with its endpoints in rows of aligned columns below it.
type Table struct {
	Columns []string // titles of those after address, role and state
	Mirrors []Mirror
}

// A Mirror is a part of a Table.
type Mirror struct {
	Title string
	Rows  []Row
	Notes []string // below the rows
}

// A Row is an endpoint.
type Row struct {
	Address, Role string
	State         health.State // colours the row where it is not up
	Cells         []string     // in the order of Table.Columns
	Note          string       // below the row, or ""
	Command       string       // that shows what Note says, or ""
}

// Write writes the table. No text in it can do anything to a terminal.
func (t *Table) Write(w io.Writer, colour bool) {
	lines := t.align()
	fmt.Fprintln(w, lines[0])
	lines = lines[1:]
	for _, m := range t.Mirrors {
		fmt.Fprintln(w, config.Printable(m.Title))
		for _, row := range m.Rows {
			line := lines[0]
			lines = lines[1:]
			if row.Note != "" {
				line += "\n" + indent + config.Printable(row.Note)
			}
			if row.Command != "" {
				line += "\n" + indent + "see: " + config.Printable(row.Command)
			}
			fmt.Fprintln(w, paint(line, row.State, colour))
		}
		for _, note := range m.Notes {
			fmt.Fprintln(w, indent+config.Printable(note))
		}
	}
}

// indent is what stands before a note.
const indent = "      "

// align returns the line with the titles of the columns, and one for each row.
func (t *Table) align() []string {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  ADDRESS\tROLE\tSTATE\t%s\n", strings.Join(t.Columns, "\t"))
	for _, m := range t.Mirrors {
		for _, r := range m.Rows {
			fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", r.Address, r.Role, r.State, strings.Join(r.Cells, "\t"))
		}
	}
	table.Flush()
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

// paint colours a line by a state that is not up, if colours are wanted.
func paint(line string, state health.State, colour bool) string {
	switch {
	case !colour || state == health.Up:
		return line
	case state == health.Down:
		return Red + line + Plain
	default:
		return Yellow + line + Plain
	}
}
