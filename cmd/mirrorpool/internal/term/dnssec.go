package term

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"mirrorpool/config"
	"mirrorpool/dnspool/authority/dnssec"
)

// WriteDNSSEC writes the state of the zone's signatures for people.
func WriteDNSSEC(w io.Writer, s *dnssec.Status, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "KEY\tALGORITHM\tFLAGS\tSTATE\tMADE\tDS AT THE PARENT\n")
	for _, key := range s.Keys {
		made, ds := "-", "no"
		if !key.Created.IsZero() {
			made = key.Created.UTC().Format(time.DateTime)
		}
		switch {
		case key.DS:
			ds = "yes"
		case s.Parent.Seen.IsZero():
			ds = "?"
		}
		fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%s\t%s\n", key.Tag, key.Algorithm, key.Flags, key.State, made, ds)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if !s.Expires.IsZero() {
		fmt.Fprintf(w, "The first signature of %s expires at %s.\n", s.Zone, s.Expires.UTC().Format(time.RFC3339))
	}
	if len(s.DS) == 0 {
		fmt.Fprintln(w, "The parent is to have no DS record.")
	} else {
		fmt.Fprintln(w, "The parent is to have:")
	}
	for _, ds := range s.DS {
		fmt.Fprintln(w, " ", ds)
	}
	switch {
	case s.Parent.Seen.IsZero():
		fmt.Fprintln(w, "What it has is not known yet.")
	case len(s.Parent.DS) == 0:
		fmt.Fprintln(w, "It has no DS record: no validator looks at the signatures.")
	default:
		fmt.Fprintf(w, "It has, at %s:\n", s.Parent.Seen.UTC().Format(time.RFC3339))
		for _, ds := range s.Parent.DS {
			fmt.Fprintln(w, " ", config.Printable(ds))
		}
	}
	if s.Leader != "" {
		fmt.Fprintf(w, "Rollovers are led by %s.\n", config.Printable(s.Leader))
	}
	if s.Next != "" {
		fmt.Fprintln(w, "Next:", s.Next)
	}
	for _, problem := range s.Problems(now) {
		fmt.Fprintln(w, "Problem:", config.Printable(problem))
	}
	return nil
}
