package admin

import (
	"fmt"
	"html/template"
	"strings"
	"time"
)

// A pageStrip shows the last 24 hours of a mirror in one role.
type pageStrip struct {
	Role    string
	Bars    template.HTML // a drawing; empty if nothing was seen
	Summary string        // how long each state lasted
}

func newPageStrip(role, letters string, seconds StateSeconds) pageStrip {
	if strings.Trim(letters, "-") == "" {
		return pageStrip{Role: role, Summary: "nothing seen yet"}
	}
	return pageStrip{Role: role, Bars: drawStrip(letters), Summary: seconds.summary()}
}

// drawStrip draws a bar for each quarter of an hour. The worse the state, the taller the bar, so that colours are not
// needed to tell them apart.
func drawStrip(letters string) template.HTML {
	var paths [3]strings.Builder // by position in stripLetters
	for start := 0; start < len(letters); {
		end := start + 1
		for end < len(letters) && letters[end] == letters[start] {
			end++
		}
		if i := strings.IndexByte(stripLetters, letters[start]); i >= 0 {
			fmt.Fprintf(&paths[i], "M%d %sh%d", start, [...]string{"7.5", "6", "4.5"}[i], end-start)
		}
		start = end
	}
	var svg strings.Builder
	svg.WriteString(`<svg class="h" viewBox="0 0 96 9" preserveAspectRatio="none">`)
	for i := range paths {
		if paths[i].Len() > 0 {
			fmt.Fprintf(&svg, `<path class="%c" d="%s"/>`, stripLetters[i], paths[i].String())
		}
	}
	svg.WriteString("</svg>")
	return template.HTML(svg.String())
}

// stripLetters are those of HistoryStatus, which are also the classes of the bars.
const stripLetters = "usd"

// bad is how long the mirror was stale or down.
func (s StateSeconds) bad() int64 { return s.Stale + s.Down }

// summary tells the share of up, and how long the other states lasted.
func (s StateSeconds) summary() string {
	all := s.Up + s.bad()
	if all == 0 {
		return "seen just now"
	}
	text := "up " + upPercent(s.Up, all)
	if s.Stale > 0 {
		text += ", stale " + Age(time.Duration(s.Stale)*time.Second)
	}
	if s.Down > 0 {
		text += ", down " + Age(time.Duration(s.Down)*time.Second)
	}
	return text
}

// upPercent is a share of which no outage is rounded away.
func upPercent(up, all int64) string {
	if up == all {
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", min(99.9, 100*float64(up)/float64(all)))
}
