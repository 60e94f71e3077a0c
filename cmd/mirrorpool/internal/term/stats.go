package term

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"mirrorpool/config"
	"mirrorpool/dnspool/stats"
)

// WriteStats writes numbers of downloads for people.
func WriteStats(w io.Writer, r *stats.Report) error {
	var total []string
	for _, c := range r.Sums {
		total = append(total, fmt.Sprintf("%s %d", c.Name, c.N))
	}
	fmt.Fprintf(w, "%s to %s: %s\n", r.Since, r.Until, strings.Join(total, ", "))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range r.Rows {
		fmt.Fprintf(table, "%d\t  %s", row.Downloads, config.Printable(row.Name))
		for _, c := range row.Apart {
			fmt.Fprintf(table, ", %s %d", c.Name, c.N)
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// WriteStatsCSV writes a row in each line, below the names of the columns. By day, each kind has a column.
func WriteStatsCSV(w io.Writer, r *stats.Report) error {
	out := csv.NewWriter(w)
	header := []string{string(r.By), "downloads"}
	var kinds []string
	if r.By == stats.ByDay {
		for k := range stats.Kinds {
			if k != stats.Download {
				kinds = append(kinds, k.String())
			}
		}
	}
	lines := [][]string{append(header, kinds...)}
	for _, row := range r.Rows {
		line := []string{cell(row.Name), strconv.FormatUint(row.Downloads, 10)}
		for _, kind := range kinds {
			n := uint64(0)
			for _, c := range row.Apart {
				if c.Name == kind {
					n = c.N
				}
			}
			line = append(line, strconv.FormatUint(n, 10))
		}
		lines = append(lines, line)
	}
	return out.WriteAll(lines)
}
