// Package term is what people see of mirrorpool on a terminal: tables, colours, numbers, and the answers of a running
// server.
//
// A text that comes from elsewhere is escaped before it is printed: see [config.Printable].
//
//	terminal.go     what standard output is, colours, and progress
//	table.go        tables
//	number.go       times, ages and counts
//	error.go        errors
//	json.go         any answer as JSON
//	status.go       the answer to status
//	explanation.go  the answer to explain
//	watch.go        what one watcher of a group sees
//	files.go        the answer to files
//	reload.go       the answer to reload
//	stats.go        the answer to stats
//	dnssec.go       the answer to dnssec status
//	mail.go         the answer to mail --dry-run
//	ledger.go       the answer to ledger
//	override.go     the answer to drain, pardon and undrain
package term

import (
	"fmt"
	"io"
	"os"
)

// What switches colours on, and off again.
const (
	Red    = "\x1b[31m"
	Yellow = "\x1b[33m"
	Plain  = "\x1b[0m"
)

// IsTerminal reports whether f is a terminal.
func IsTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Colours reports whether f is a terminal whose user likes colours (https://no-color.org).
func Colours(f any) bool {
	return IsTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// A Progress shows on a terminal how far something has come, in one line that is rewritten. Elsewhere it shows nothing.
type Progress struct {
	w     io.Writer
	on    bool
	shown bool
}

// NewProgress returns a progress shown at w.
func NewProgress(w io.Writer) *Progress { return &Progress{w: w, on: IsTerminal(w)} }

// Show rewrites the line.
func (p *Progress) Show(done, total int) {
	if p.on {
		fmt.Fprintf(p.w, "\r%d of %d checked\x1b[K", done, total)
		p.shown = true
	}
}

// Clear removes the line.
func (p *Progress) Clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
