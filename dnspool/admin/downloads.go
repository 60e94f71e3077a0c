package admin

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"mirrorpool/dnspool/stats"
)

// chartDays is how many days the page's chart shows.
const chartDays = 30

// A DownloadsStatus is the downloads of the latest days, the oldest first. Days without any are missing.
type DownloadsStatus struct {
	Today uint64      `json:"today"`
	Days  []stats.Row `json:"days"`
}

// AddDownloads adds the downloads of the latest days.
func (s *Status) AddDownloads(c *stats.Counter, now time.Time) {
	r := c.Report(stats.ByDay, now.AddDate(0, 0, 1-chartDays))
	s.Downloads = &DownloadsStatus{Days: r.Rows}
	if n := len(r.Rows); n > 0 && r.Rows[n-1].Name == r.Until {
		s.Downloads.Today = r.Rows[n-1].Downloads
	}
}

// A downloadsChart is the chart of the latest days.
type downloadsChart struct {
	Text string
	Bars template.HTML // in a picture of 300 by 40
}

// newDownloadsChart draws the downloads of the days up to today. It is nil if there were none.
func newDownloadsChart(d *DownloadsStatus, now time.Time) *downloadsChart {
	if d == nil {
		return nil
	}
	byDay := map[string]uint64{}
	most, sum := uint64(0), uint64(0)
	for _, row := range d.Days {
		byDay[row.Name] = row.Downloads
		most, sum = max(most, row.Downloads), sum+row.Downloads
	}
	if most == 0 {
		return nil
	}
	const width, height = 300 / chartDays, 40
	var bars strings.Builder
	for i := range chartDays {
		day := now.UTC().AddDate(0, 0, i+1-chartDays).Format(time.DateOnly)
		tall := height * float64(byDay[day]) / float64(most)
		fmt.Fprintf(&bars, `<rect x="%d" y="%.1f" width="%d" height="%.1f"><title>%s: %d</title></rect>`, i*width, height-tall, width-2,
			tall, day, byDay[day])
	}
	return &downloadsChart{
		Text: fmt.Sprintf("%d in %d days, %d of them today; at most %d in a day.", sum, chartDays, d.Today, most),
		Bars: template.HTML(bars.String()), // of numbers and dates
	}
}

// showStats handles GET /api/v1/stats. by is day, path, mirror or country; since is a time as in RFC 3339, without
// which all days count.
func showStats(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		by, err := stats.ParseBy(r.URL.Query().Get("by"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		since, err := readTime(r.URL.Query().Get("since"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, b.Stats(by, since))
	}
}
