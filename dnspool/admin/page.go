package admin

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
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
	minRefresh   = 5 // seconds
	maxRefresh   = 3600
	certSoonDays = 14
)

// A page is the status page's content, as text. It is made of a Status alone, so that it cannot tell another story.
type page struct {
	CSS            template.CSS
	Refresh        int // seconds; 0: it stays as it is
	Title, Verdict string
	Problems       []string
	Facts          []pageFact
	Groups         []pageGroup
	Coast          string
	Markers        []pageMarker
	Legend         []pageLegend
	Mirrors        []pageMirror

	MapWidth, MapHeight             int
	MapText, MapNote, Caption, Foot string
}

type pageFact struct{ Name, Text string }

type pageGroup struct {
	Name, Eligible, Up, Enabled string
	Panic                       bool
}

type pageMarker struct {
	Class, Title string
	X, Y         int
}

type pageLegend struct {
	Class, Name string
	Count       int
}

type pageMirror struct {
	Class, State, URL, Name, About, Reason string
	Rows                                   []pageRow
}

type pageRow struct {
	Role                            string
	Endpoints                       []pageEndpoint
	Cert, Trace, Expected, Observed string
	CertBad                         bool
	Strip                           template.HTML
}

type pageEndpoint struct{ Class, State, Address, Since, Note string }

// Classes name how something is drawn: by colour and by shape.
const (
	classDisabled = "o"
	disabled      = "disabled"
)

var stateClasses = map[health.State]string{health.Up: "u", health.Stale: "s", health.Down: "d", health.Unknown: "q"}

// statusPage handles GET /.
func statusPage(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := b.Status()
		p := newPage(&status, time.Now())
		if n, err := strconv.Atoi(r.URL.Query().Get("refresh")); err == nil {
			p.Refresh = min(max(n, minRefresh), maxRefresh)
		}
		var text bytes.Buffer
		if err := pageTemplate.Execute(&text, p); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", pagePolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		w.Write(text.Bytes())
	}
}

func newPage(s *Status, now time.Time) *page {
	p := &page{
		CSS: template.CSS(pageCSS), Title: "Mirrors of " + cmp.Or(s.Zone, "the pool"), Coast: coastPath,
		MapWidth: mapWidth, MapHeight: mapHeight,
		Facts: pageFacts(s, now), Problems: pageProblems(s, now),
		Foot: fmt.Sprintf("mirrorpool %s, process %d, as of %s.", s.Process.Version, s.Process.PID, now.UTC().Format("2006-01-02 15:04:05 MST")),
	}
	for _, g := range s.Groups {
		p.Groups = append(p.Groups, pageGroup{groupName(&g), weight(g.EligibleWeight), weight(g.UpWeight), weight(g.EnabledWeight), g.Panic})
	}
	counts := map[string]int{}
	grid, unplaced := atlasGrid{}, 0
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		mirror := newPageMirror(m, now)
		p.Mirrors = append(p.Mirrors, mirror)
		counts[mirror.Class]++
		if m.Place == nil {
			unplaced++
			continue
		}
		x, y := grid.place(m.Place.Latitude, m.Place.Longitude)
		p.Markers = append(p.Markers, pageMarker{mirror.Class, m.URLPrefix + ": " + mirror.State, x, y})
	}
	var summary []string
	for _, l := range []pageLegend{{"u", "up", 0}, {"s", "stale", 0}, {"d", "down", 0}, {"q", "unknown", 0}, {classDisabled, disabled, 0}} {
		l.Count = counts[l.Class]
		p.Legend = append(p.Legend, l)
		summary = append(summary, fmt.Sprintf("%d %s", l.Count, l.Name))
	}
	p.MapText = strings.Join(summary, ", ")
	p.Verdict = "Enabled mirrors work: " + s.Works.String()
	if len(p.Problems) == 0 && s.Works.Partly+s.Works.NotAtAll == 0 {
		p.Verdict = "All is well. " + p.Verdict
	}
	p.MapNote = "Mirrors at about the same place are drawn side by side."
	if unplaced > 0 {
		p.MapNote += fmt.Sprintf(" Where %d of them are is not known: they are not on the map.", unplaced)
	}
	p.Caption = fmt.Sprintf("Shares: in DNS, of the first place in answers, as weights say now and as the prepared answers have it; "+
		"in redirects, of %d since the start, as weights alone say and as clients were sent.", s.Redirects)
	return p
}

func pageFacts(s *Status, now time.Time) []pageFact {
	facts := []pageFact{
		{"Serial", strconv.FormatUint(uint64(s.Serial), 10)},
		{"List", s.Pool.Source},
		{"Accepted", since(&s.Pool.Loaded, now) + " ago"},
	}
	if s.Pool.Checked != nil {
		facts = append(facts, pageFact{"Last seen", since(s.Pool.Checked, now) + " ago"})
	}
	held := "none"
	if s.Pool.Held != nil {
		held = "since " + since(&s.Pool.Held.Since, now) + ", waits for mirrorpool reload --confirm"
	}
	facts = append(facts, pageFact{"Held update", held})
	reload := "none since the start"
	if r := s.Reload; r != nil {
		reload = since(&r.At, now) + " ago, "
		switch {
		case !r.OK:
			reload += "refused: " + r.Error
		case len(r.Restart) > 0:
			reload += "done; a restart is needed for " + strings.Join(r.Restart, ", ")
		default:
			reload += "done"
		}
	}
	facts = append(facts, pageFact{"Last reload", reload})
	reference := "not known"
	if s.Reference.Trace != nil {
		reference = fmt.Sprintf("%s old, on %d of %d enabled mirrors", since(s.Reference.Trace, now), s.Reference.Mirrors, s.Reference.Enabled)
	}
	return append(facts, pageFact{"Release", reference}, pageFact{"Suspect", cmp.Or(s.Suspect, "nothing")},
		pageFact{"Running for", since(&s.Process.Started, now)})
}

// pageProblems is what somebody may have to see to.
func pageProblems(s *Status, now time.Time) []string {
	var problems []string
	add := func(is bool, format string, args ...any) {
		if is {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	add(!s.Ready, "The server does not answer yet, or its checks are overdue.")
	for i := range s.Groups {
		g := &s.Groups[i]
		add(g.Panic, "Panic: of %s, only %s of the weight %s is up.", groupName(g), weight(g.UpWeight), weight(g.EnabledWeight-g.NewcomerWeight))
	}
	add(s.Suspect != "", "Suspect: %s. Most mirrors began to fail together.", s.Suspect)
	add(s.Pool.Error != "", "The list of mirrors cannot be used; the one before serves on: %s", s.Pool.Error)
	add(s.Pool.Kept, "The list of mirrors is the one kept on disk: its source cannot be read.")
	add(s.Pool.KeepError != "", "The list of mirrors cannot be kept on disk: %s", s.Pool.KeepError)
	add(s.Pool.Held != nil, "An update of the list is held back, because it takes away much of the weight.")
	add(s.Reference.Problem != "", "No news of the reference: %s", s.Reference.Problem)
	for _, f := range s.Notify {
		add(f.Problem != "", "NOTIFY has failed for %s: %s", since(f.Since, now), f.Problem)
	}
	for _, f := range s.Publish {
		add(f.Problem != "", "Publishing has failed for %s: %s", since(f.Since, now), f.Problem)
	}
	if s.Reload != nil {
		add(!s.Reload.OK && s.Reload.Error != s.Pool.Error, "The last reload was refused: %s", s.Reload.Error)
	}
	for i := range s.Mirrors {
		m := &s.Mirrors[i]
		add(m.Weight > 0 && len(m.Eligible) == 0, "%s serves nobody.", m.URLPrefix)
		if days, ok := certDays(m.Endpoints, now); m.Weight > 0 && ok {
			add(days < certSoonDays, "The certificate of %s has %d days left.", m.URLPrefix, days)
		}
	}
	return problems
}

func newPageMirror(m *MirrorStatus, now time.Time) pageMirror {
	p := pageMirror{URL: m.URLPrefix, Name: m.Name, State: m.State.String(), Class: stateClasses[m.State]}
	about := []string{fmt.Sprintf("weight %d", m.Weight)}
	if m.DNSWeight != m.Weight {
		about = append(about, fmt.Sprintf("%d in DNS", m.DNSWeight))
	}
	if m.Place != nil && m.Place.Country.String() != "" {
		about = append(about, m.Place.Country.String())
	}
	switch {
	case m.Weight == 0:
		p.State, p.Class, about = disabled, classDisabled, about[1:]
	case len(m.Eligible) == 0:
		about = append(about, "serves nobody")
	default:
		about = append(about, "serves "+strings.Join(m.Eligible, " and "))
	}
	p.About = strings.Join(about, ", ")
	if len(m.Endpoints) == 0 {
		p.Reason = cmp.Or(m.Reason, "no address is known")
	}
	for _, role := range [...]health.Role{health.DNS, health.HTTP, health.Rsync} {
		if row, ok := newPageRow(m, role, now); ok {
			p.Rows = append(p.Rows, row)
		}
	}
	return p
}

// newPageRow tells how a mirror does in a role. ok is false if it has none.
func newPageRow(m *MirrorStatus, role health.Role, now time.Time) (row pageRow, ok bool) {
	row.Role = role.String()
	var mine []EndpointStatus
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		if e.Role != role {
			continue
		}
		mine = append(mine, *e)
		endpoint := pageEndpoint{
			Class: stateClasses[e.State], State: e.State.String(), Address: "no address", Note: cmp.Or(e.Reason, e.Warning),
		}
		if e.Since != nil {
			endpoint.Since = since(e.Since, now)
		}
		if e.Address.IsValid() {
			endpoint.Address = e.Address.String()
		}
		row.Endpoints = append(row.Endpoints, endpoint)
	}
	if len(mine) == 0 {
		return row, false
	}
	if days, ok := certDays(mine, now); ok {
		row.Cert, row.CertBad = fmt.Sprintf("%d d", days), days < certSoonDays
		if row.CertBad {
			row.Cert += " (!)"
		}
	}
	if trace := oldestTrace(mine); trace != nil {
		row.Trace = since(trace, now)
	}
	if m.Weight > 0 {
		row.Expected, row.Observed = shareTexts(m.Shares, role)
	}
	if m.History != nil {
		switch role {
		case health.DNS:
			row.Strip = drawStrip(m.History.DNS)
		case health.HTTP:
			row.Strip = drawStrip(m.History.HTTP)
		}
	}
	return row, true
}

// certDays returns how many days the certificate of the endpoints that ends first has left.
func certDays(endpoints []EndpointStatus, now time.Time) (days int, ok bool) {
	var first time.Time
	for i := range endpoints {
		if t := endpoints[i].CertExpires; t != nil && (first.IsZero() || t.Before(first)) {
			first = *t
		}
	}
	v := health.Verdict{CertExpires: first}
	return v.CertDays(now)
}

func oldestTrace(endpoints []EndpointStatus) (oldest *time.Time) {
	for i := range endpoints {
		if t := endpoints[i].Trace; t != nil && (oldest == nil || t.Before(*oldest)) {
			oldest = t
		}
	}
	return oldest
}

// shareTexts are the shares in a role. Where a mirror has some in both families, they are told apart.
func shareTexts(shares []ShareStatus, role health.Role) (expected, observed string) {
	var e, o []string
	for _, s := range shares {
		if s.Role != role {
			continue
		}
		prefix := ""
		if s.Family == "ipv6" {
			prefix = "v6 "
		}
		e, o = append(e, prefix+percent(s.Expected)), append(o, prefix+percent(s.Observed))
	}
	return strings.Join(e, " "), strings.Join(o, " ")
}

// drawStrip draws the last 24 hours. The worse a state, the taller its bar, so that nobody has to tell colours apart; the
// sum stands below it.
func drawStrip(letters string) template.HTML {
	var paths [3]strings.Builder // of the letters in turn
	var count [3]int
	for start := 0; start < len(letters); {
		end := start + 1
		for end < len(letters) && letters[end] == letters[start] {
			end++
		}
		if i := strings.IndexByte("usd", letters[start]); i >= 0 {
			fmt.Fprintf(&paths[i], "M%d %sh%d", start, [...]string{"7.5", "6", "4.5"}[i], end-start)
			count[i] += end - start
		}
		start = end
	}
	seen := count[0] + count[1] + count[2]
	if seen == 0 {
		return template.HTML("<small>nothing seen yet</small>")
	}
	text := "up " + percent(float64(count[0])/float64(seen))
	for i, name := range [...]string{1: "stale", 2: "down"} {
		if count[i] > 0 && i > 0 {
			text += ", " + name + " " + percent(float64(count[i])/float64(seen))
		}
	}
	var svg strings.Builder
	svg.WriteString(`<svg class="h">`)
	for i, class := range [...]string{"u", "s", "d"} {
		if count[i] > 0 {
			fmt.Fprintf(&svg, `<path class="%s" d="%s"/>`, class, paths[i].String())
		}
	}
	svg.WriteString("</svg><small>" + text + "</small>")
	return template.HTML(svg.String())
}

func groupName(g *GroupStatus) string {
	name := map[health.Role]string{health.DNS: "DNS", health.HTTP: "redirects"}[g.Role]
	name += " " + map[string]string{"ipv4": "IPv4", "ipv6": "IPv6"}[g.Family]
	if g.Secure {
		name += ", https"
	}
	return name
}

func weight(w float64) string { return strconv.FormatFloat(w, 'g', 6, 64) }

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + " %" }

// since is how long ago t was, in one unit, or in two if the first is small.
func since(t *time.Time, now time.Time) string {
	d := max(0, now.Sub(*t))
	minutes := int(d / time.Minute)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case minutes < 60:
		return fmt.Sprintf("%d min", minutes)
	case minutes < 10*60:
		return fmt.Sprintf("%d h %d min", minutes/60, minutes%60)
	case minutes < 48*60:
		return fmt.Sprintf("%d h", minutes/60)
	default:
		return fmt.Sprintf("%d d", minutes/60/24)
	}
}
