package stats

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A By says by what numbers are told.
type By string

// The ways.
const (
	ByDay     By = "day"
	ByPath    By = "path"
	ByMirror  By = "mirror"
	ByCountry By = "country"
)

// ParseBy reads a way; "" is by day.
func ParseBy(text string) (By, error) {
	by := By(cmp.Or(text, string(ByDay)))
	if !slices.Contains([]By{ByDay, ByPath, ByMirror, ByCountry}, by) {
		return "", fmt.Errorf("want day, path, mirror or country, got %q", text)
	}
	return by, nil
}

// A Report is numbers over days.
type Report struct {
	By    By            `json:"by"`
	Since string        `json:"since"` // the first day
	Until string        `json:"until"` // the last day
	Rows  []Row         `json:"rows"`  // by day: the oldest first; else the largest first
	Total [Kinds]uint64 `json:"-"`
	Sums  []Count       `json:"total"` // by kind
}

// A Row is a line of a Report.
type Row struct {
	Name      string `json:"name"`
	Downloads uint64 `json:"downloads"`
	// Only by day: what is counted apart.
	Apart []Count `json:"apart,omitempty"`
}

// Report returns the numbers of the days since a time.
func (c *Counter) Report(by By, since time.Time) Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := c.current.Load().snapshot()
	first := min(max(dayOf(since), open.day-max(c.keep, 1)+1), open.day)
	r := Report{By: by, Since: dateOf(first), Until: open.Date, Rows: []Row{}, Sums: []Count{}}
	sums := map[string]uint64{}
	days := slices.Clone(c.days)
	for _, e := range c.ending {
		days = append(days, e.today.close())
	}
	slices.SortFunc(days, func(a, b Day) int { return a.day - b.day })
	for _, d := range append(days, open) {
		if d.day < first || d.day > open.day {
			continue
		}
		downloads, apart := d.byKind(&r.Total)
		switch by {
		case ByDay:
			if downloads > 0 || len(apart) > 0 {
				r.Rows = append(r.Rows, Row{d.Date, downloads, apart})
			}
		default:
			for _, n := range map[By][]Count{ByPath: d.Paths, ByMirror: d.Mirrors, ByCountry: d.Countries}[by] {
				sums[n.Name] += n.N
			}
		}
	}
	for name, n := range sums {
		r.Rows = append(r.Rows, Row{Name: name, Downloads: n})
	}
	if by != ByDay {
		slices.SortFunc(r.Rows, func(a, b Row) int {
			return cmp.Or(cmp.Compare(b.Downloads, a.Downloads), cmp.Compare(a.Name, b.Name))
		})
	}
	for k, n := range r.Total {
		r.Sums = append(r.Sums, Count{Kind(k).String(), n})
	}
	return r
}

// byKind returns the downloads of a day and what is counted apart, and adds both to total.
func (d *Day) byKind(total *[Kinds]uint64) (downloads uint64, apart []Count) {
	for _, c := range d.Kinds {
		for k := range Kinds {
			if k.String() != c.Name {
				continue
			}
			total[k] += c.N
			if k == Download {
				downloads = c.N
			} else {
				apart = append(apart, c)
			}
		}
	}
	return downloads, apart
}
