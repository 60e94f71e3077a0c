package admin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"mirrorpool/health"
)

// pageProblems lists what needs attention. Mirrors are counted rather than listed: their rows name them.
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
		add(g.Panic, "Panic: of %s, only %s of the weight %s is up.",
			groupName(g), weight(g.UpWeight), weight(g.EnabledWeight-g.NewcomerWeight))
	}
	for _, suspect := range s.Suspects {
		add(true, "Suspect: %s. As seen from here, %s.", suspect.Name, suspect.Text)
	}
	add(s.Pool.Error != "", "The list of mirrors cannot be used; the one before stays in force: %s", s.Pool.Error)
	add(s.Pool.Kept, "The list of mirrors is the one saved on disk: its source cannot be read.")
	add(s.Pool.KeepError != "", "The list of mirrors cannot be saved on disk: %s", s.Pool.KeepError)
	if held := s.Pool.Held; held != nil {
		add(true, "An update of the list has been held back for %s, because it takes away or moves much of the weight: "+
			"'mirrorpool reload --dry-run' shows it, 'mirrorpool reload --confirm' accepts it.", Age(now.Sub(held.Since)))
	}
	add(s.Reference.Problem != "", "The reference cannot be read: %s", s.Reference.Problem)
	if s.Reference.Trace != nil {
		add(s.Reference.Trace.After(now.Add(time.Minute)), "The release is %s.", Old(*s.Reference.Trace, now))
	}
	add(s.Files.OriginProblem != "", "files.origin cannot be read; what was known of it counts: %s", s.Files.OriginProblem)
	problems = append(problems, s.Verification.problems()...)
	if s.DNSSEC != nil && s.Ready {
		trouble := s.DNSSEC.Trouble(now)
		add(trouble != "", "%s", trouble)
	}
	for i := range s.Certificates {
		trouble := s.Certificates[i].Trouble(now)
		add(trouble != "", "%s", trouble)
	}
	if s.Watch != nil && s.Ready {
		problems = append(problems, s.Watch.Problems(now)...)
	}
	problems = append(problems, feedProblems("NOTIFY", s.Notify, now)...)
	problems = append(problems, feedProblems("Publishing", s.Publish, now)...)
	if s.Reload != nil {
		add(!s.Reload.OK && s.Reload.Error != s.Pool.Error, "The last reload was refused: %s", s.Reload.Error)
	}
	return append(problems, mirrorProblems(s.Mirrors, now)...)
}

// feedProblems tells a failing server with its problem, and several by their number.
func feedProblems(how string, feeds []FeedStatus, now time.Time) []string {
	var failing []FeedStatus
	for _, f := range feeds {
		if f.Problem != "" {
			failing = append(failing, f)
		}
	}
	switch len(failing) {
	case 0:
		return nil
	case 1:
		since := "has failed"
		if failing[0].Since != nil {
			since += " for " + Age(now.Sub(*failing[0].Since))
		}
		return []string{fmt.Sprintf("%s %s: %s", how, since, failing[0].Problem)}
	default:
		return []string{fmt.Sprintf("%s fails for %d of %d servers.", how, len(failing), len(feeds))}
	}
}

// mirrorProblems counts the mirrors in trouble, with the commonest reasons.
func mirrorProblems(mirrors []MirrorStatus, now time.Time) (problems []string) {
	reasons := map[condition]map[string]int{}
	idle, certs := 0, certCount{}
	for i := range mirrors {
		m := &mirrors[i]
		c := conditionOf(m)
		if c == isDisabled || c == isDrained {
			continue
		}
		if reasons[c] == nil {
			reasons[c] = map[string]int{}
		}
		reasons[c][mainReason(m, c)]++
		if len(m.Eligible) == 0 {
			idle++
		}
		certs.add(m, now)
	}
	for _, c := range [...]condition{isDown, isStale, isPartly, isUnknown} {
		if len(reasons[c]) > 0 {
			problems = append(problems, countReasons(c, reasons[c]))
		}
	}
	if idle > 0 {
		problems = append(problems, plural(idle, "enabled mirror gets no clients.", "enabled mirrors get no clients."))
	}
	return append(problems, certs.problems()...)
}

// countReasons returns such as "3 mirrors down: connect: timed out (2), status: 404 Not Found (1)".
func countReasons(c condition, reasons map[string]int) string {
	const maxReasons = 3
	texts := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		return cmp.Or(reasons[b]-reasons[a], strings.Compare(a, b))
	})
	all := 0
	for _, n := range reasons {
		all += n
	}
	line := plural(all, "mirror ", "mirrors ") + map[condition]string{
		isDown: "down", isStale: "stale", isUnknown: "in an unknown state",
		isPartly: "up at some addresses or in some roles only",
	}[c]
	if len(texts) == 1 {
		return line + ": " + texts[0]
	}
	separator := ": "
	for i, text := range texts {
		if i == maxReasons {
			return line + fmt.Sprintf(", other reasons (%d)", all)
		}
		line += fmt.Sprintf("%s%s (%d)", separator, text, reasons[text])
		all -= reasons[text]
		separator = ", "
	}
	return line
}

// mainReason is why a mirror is in a condition, without what differs from mirror to mirror.
func mainReason(m *MirrorStatus, c condition) string {
	for i := range m.Endpoints {
		e := &m.Endpoints[i]
		if e.Reason == "" || e.State == health.Up || c != isPartly && stateConditions[e.State] != c {
			continue
		}
		if c == isStale {
			return "too old" // by how much differs
		}
		return shorten(e.Reason)
	}
	if m.Reason != "" {
		return "no address"
	}
	return "not checked yet"
}

// shorten cuts a text off where it gets too long for a list.
func shorten(text string) string {
	const limit = 60 // characters
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

// A certCount counts mirrors whose certificates have expired or will soon.
type certCount struct{ expired, soon int }

func (c *certCount) add(m *MirrorStatus, now time.Time) {
	days, ok := certDays(m.Endpoints, now)
	switch {
	case !ok || days >= health.CertWarnDays:
	case days < 0:
		c.expired++
	default:
		c.soon++
	}
}

func (c *certCount) problems() (problems []string) {
	if c.expired > 0 {
		problems = append(problems, "The certificate of "+plural(c.expired, "mirror has expired.", "mirrors has expired."))
	}
	if c.soon > 0 {
		problems = append(problems, fmt.Sprintf("The certificate of %s expires within %d days.",
			plural(c.soon, "mirror", "mirrors"), health.CertWarnDays))
	}
	return problems
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

// plural is a number with the form that goes with it.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
