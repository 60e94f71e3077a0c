//go:build linux

package systest

import (
	"fmt"
	"strings"
	"time"
)

// A row of the table of results.
type row struct {
	*fault
	last           [3]time.Duration // when a client was last sent there: by DNS, by redirect, by the resolver; 0: never
	wrong, answers int              // given while it lasted
	failed, tried  int              // downloads
	recovered      time.Duration    // until it is answered again; 0: not measured
}

// A report is what a run has found.
type report struct {
	rows []row
}

func (r *report) String() string {
	var b strings.Builder
	b.WriteString("| fault | last sent there: DNS | redirect | by a resolver | wrong answers | failed downloads | back after |  |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---|\n")
	seconds := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d of %d | %d of %d | %s | %s |\n", row.what, seconds(row.last[0]),
			seconds(row.last[1]), seconds(row.last[2]),
			row.wrong, row.answers, row.failed, row.tried, seconds(row.recovered), row.note)
	}
	return b.String()
}

// faceOf says which way a client was sent: 0 by DNS, 1 by a redirect, 2 by the resolver; -1 if it is none of those
// that look.
func faceOf(e *event) int {
	switch {
	case strings.HasPrefix(e.client, "dns resolver"):
		return 2
	case strings.HasPrefix(e.client, "dns "):
		return 0
	case strings.HasPrefix(e.client, "redirect "):
		return 1
	}
	return -1
}

// measure works out what has come of a fault that lasted from one time to another.
func (c *clients) measure(f *fault, from, to time.Time) row {
	r := row{fault: f}
	for _, e := range c.between(from, to) {
		if e.download() {
			r.tried++
			if e.failed != "" {
				r.failed++
			}
			continue
		}
		if len(e.to) == 0 {
			continue
		}
		r.answers++
		if f.wrong(&e) {
			r.wrong++
			face := faceOf(&e)
			r.last[face] = max(r.last[face], e.at.Sub(from))
		}
	}
	return r
}
