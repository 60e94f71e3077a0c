package admin

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mirrorpool/health"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageCSS string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// pagePolicy lets the page use its own style, and load or run nothing at all.
var pagePolicy = func() string {
	hash := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

const (
	minRefresh = 5 // seconds
	maxRefresh = 3600

	pageBuffer = 32 << 10
)

// A page is the status page's content, as text. It is made of a Status alone, so that the two always agree.
type page struct {
	CSS            template.CSS
	Refresh        int // seconds; 0: off
	RefreshLink    string
	Title, Verdict string
	Problems       []string
	Counts         []pageCount
	Sections       []pageSection
	Facts          []pageFact
	Groups         []pageGroup
	Feeds          []pageFeed
	Release        []string
	Downloads      *downloadsChart // nil if there were none
	Seen           *watchTable     // nil without other watchers
	Coast          string
	Markers        []pageMarker

	MapWidth, MapHeight    int
	MapText, MapNote, Foot string
}

type pageFact struct{ Name, Text string }

type pageGroup struct {
	Name, Eligible, Up, Enabled string
	Panic                       bool
}

// pageReleaseFiles is how many files of a release the page shows.
const pageReleaseFiles = 10

// A pageCount is how many mirrors are in a condition, with the link that shows them alone.
type pageCount struct {
	Class, Text, Link string
	Current           bool
}

// A pageFeed is another DNS server that this one notifies or updates.
type pageFeed struct {
	Server, Zone, How string
	Class, State      string // the class is that of a condition
}

// A pageView is what the query asks for.
type pageView struct {
	refresh int // seconds; 0: off
	filter  stateFilter
}

func readPageView(query url.Values) (v pageView, err error) {
	if n, err := strconv.Atoi(query.Get("refresh")); err == nil {
		v.refresh = min(max(n, minRefresh), maxRefresh)
	}
	v.filter, err = readStateFilter(query)
	return v, err
}

// link returns the relative URL of the view.
func (v pageView) link() string {
	query := url.Values{}
	if v.refresh > 0 {
		query.Set("refresh", strconv.Itoa(v.refresh))
	}
	for _, c := range v.filter {
		query.Add("state", c.name())
	}
	if len(query) == 0 {
		return "./"
	}
	return "./?" + query.Encode()
}

// statusPage handles GET /.
func statusPage(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		view, err := readPageView(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		status := b.Status()
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		// It is written as it is made: that of a large pool has megabytes.
		buffered := bufio.NewWriterSize(w, pageBuffer)
		if pageTemplate.Execute(buffered, newPage(&status, view, time.Now())) != nil || buffered.Flush() != nil {
			panic(http.ErrAbortHandler) // for the client not to take a part for the whole
		}
	}
}

func newPage(s *Status, view pageView, now time.Time) *page {
	p := &page{
		CSS: template.CSS(pageCSS), Title: "Mirrors of " + cmp.Or(s.Zone, "the pool"), Refresh: view.refresh,
		Problems: pageProblems(s, now), Facts: pageFacts(s, now), Feeds: pageFeeds(s, now), Release: s.ReleaseLines(now, pageReleaseFiles),
		Sections: newSections(s, view.filter, now), Downloads: newDownloadsChart(s.Downloads, now),
		Seen: newWatchTable(s, now), Coast: coastPath, MapWidth: mapWidth, MapHeight: mapHeight,
		MapNote: "Mirrors of one country near one another share a marker, which names them.",
		Foot: fmt.Sprintf("mirrorpool %s, process %d, as of %s.", s.Process.Version, s.Process.PID,
			now.UTC().Format("2006-01-02 15:04:05 MST")),
	}
	other := view
	other.refresh = 0
	if view.refresh == 0 {
		other.refresh = 30
	}
	p.RefreshLink = other.link()
	for _, g := range s.Groups {
		p.Groups = append(p.Groups, pageGroup{
			groupName(&g), weight(g.EligibleWeight), weight(g.UpWeight), weight(g.EnabledWeight), g.Panic,
		})
	}
	p.count(s, view)
	var unplaced int
	if p.Markers, unplaced = newMarkers(s.Mirrors); unplaced > 0 {
		p.MapNote += " Of " + plural(unplaced, "mirror", "mirrors") + " the place is not known."
	}
	return p
}

// count fills in how many mirrors are in each condition.
func (p *page) count(s *Status, view pageView) {
	var counts [len(conditions)]int
	for i := range s.Mirrors {
		counts[conditionOf(&s.Mirrors[i])]++
	}
	all := view
	all.filter = nil
	p.Counts = append(p.Counts, pageCount{
		Text: fmt.Sprintf("All %d", len(s.Mirrors)), Link: all.link(), Current: view.filter == nil,
	})
	var summary []string
	for _, c := range [...]condition{isUp, isPartly, isStale, isDown, isUnknown, isDrained, isDisabled} {
		if counts[c] == 0 && c != isUp && c != isDown {
			continue
		}
		one := view
		one.filter = stateFilter{c}
		text := fmt.Sprintf("%d %s", counts[c], c.name())
		p.Counts = append(p.Counts, pageCount{
			Class: c.class(), Text: text, Link: one.link(), Current: view.filter != nil && view.filter.shows(c),
		})
		summary = append(summary, text)
	}
	p.MapText = strings.Join(summary, ", ")
	p.Verdict = "Enabled mirrors work: " + s.Works.String()
	if len(p.Problems) == 0 && s.Works.Partly+s.Works.NotAtAll == 0 {
		p.Verdict = "All is well. " + p.Verdict
	}
}

func pageFacts(s *Status, now time.Time) []pageFact {
	facts := []pageFact{
		{"Serial", strconv.FormatUint(uint64(s.Serial), 10)},
		{"List", s.Pool.Source},
		{"Accepted", Ago(s.Pool.Loaded, now)},
	}
	if s.Pool.Checked != nil {
		facts = append(facts, pageFact{"Last seen", Ago(*s.Pool.Checked, now)})
	}
	reference := "not known"
	if s.Reference.Trace != nil {
		reference = fmt.Sprintf("%s, carried by %d of %d enabled mirrors",
			Old(*s.Reference.Trace, now), s.Reference.Mirrors, s.Reference.Enabled)
		if ahead := s.Reference.AheadText(now); ahead != "" {
			reference += "; " + strings.TrimSuffix(ahead, ".")
		}
	}
	if s.Watch != nil {
		facts = append(facts, pageFact{"Watchers", s.Watch.Text()})
	}
	return append(facts,
		pageFact{"Last reload", reloadText(s.Reload, now)},
		pageFact{"Release", reference},
		pageFact{"Running for", Age(now.Sub(s.Process.Started))})
}

func reloadText(r *ReloadStatus, now time.Time) string {
	switch {
	case r == nil:
		return "none since the start"
	case !r.OK:
		return Ago(r.At, now) + ", refused: " + r.Error
	case len(r.Restart) > 0:
		return Ago(r.At, now) + "; a restart is needed for " + strings.Join(r.Restart, ", ")
	default:
		return Ago(r.At, now)
	}
}

// pageFeeds lists the other DNS servers, those first that cannot be reached.
func pageFeeds(s *Status, now time.Time) []pageFeed {
	var failing, others []pageFeed
	add := func(how string, feeds []FeedStatus) {
		for _, f := range feeds {
			p := pageFeed{Server: f.Server, Zone: f.Zone, How: how}
			switch {
			case f.Since == nil:
				p.Class, p.State = isUnknown.class(), "not tried yet"
				others = append(others, p)
			case f.Problem != "":
				p.Class = isDown.class()
				p.State = fmt.Sprintf("failing for %s: %s", Age(now.Sub(*f.Since)), strings.TrimPrefix(f.Problem, f.Server+": "))
				failing = append(failing, p)
			default:
				p.Class, p.State = isUp.class(), "working for "+Age(now.Sub(*f.Since))
				others = append(others, p)
			}
		}
	}
	add("NOTIFY", s.Notify)
	add("update", s.Publish)
	return append(failing, others...)
}

func groupName(g *GroupStatus) string {
	name := map[health.Role]string{health.DNS: "DNS", health.HTTP: "http"}[g.Role]
	if g.Secure {
		name = "https"
	}
	return name + " " + map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}[g.Family]
}

func weight(w float64) string { return strconv.FormatFloat(w, 'g', 6, 64) }

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" }
