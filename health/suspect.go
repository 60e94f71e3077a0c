package health

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
)

// The names of what is suspected, as in status, metrics and alerts.
const (
	SuspectNetwork    = "local network"
	SuspectTrustStore = "trust store"
	SuspectClock      = "clock"
	SuspectRsync      = "rsync port"
	SuspectHTTPS      = "https port"
	SuspectIPv4       = "IPv4"
	SuspectIPv6       = "IPv6"
	SuspectResolver   = "resolver"
)

// SuspectNames are the names of all that may be suspected.
var SuspectNames = [...]string{
	SuspectNetwork, SuspectTrustStore, SuspectClock, SuspectRsync, SuspectHTTPS, SuspectIPv4, SuspectIPv6, SuspectResolver,
}

// This host is suspected if at least suspectMirrors mirrors fail alike. The local network is if more than half of the
// checks that were up begin to fail within one interval; for suspectIntervals at most.
const (
	suspectMirrors   = 3
	suspectIntervals = 10
)

// A Suspect is a part of this host that would explain why many mirrors fail alike.
type Suspect struct {
	Name  string
	Since time.Time
	// Failing of the Of mirrors that depend on it fail in some check.
	Failing, Of int
	Text        string // what was seen, and what to look at: a sentence
}

// A commonFault is a fault of this host, and the failures by which it shows.
type commonFault struct {
	name  string
	cause Cause                        // of the failures
	about func(k *check) bool          // the checks that it concerns
	tells func(failing, of int) string // the sentence of the suspect
}

// commonFaults are those that are seen from the checks.
var commonFaults = [...]commonFault{
	{SuspectTrustStore, CauseTrust, (*check).overTLS, func(failing, of int) string {
		return fmt.Sprintf("the certificates of %d of %d mirrors are signed by an unknown authority: look at the certificates "+
			"that this host trusts (package ca-certificates)", failing, of)
	}},
	{SuspectClock, CauseClock, (*check).overTLS, func(failing, of int) string {
		return fmt.Sprintf("the certificates of %d of %d mirrors are not valid now: look at this host's clock", failing, of)
	}},
	{SuspectClock, CauseFuture, func(k *check) bool { return k.role != Rsync }, func(failing, of int) string {
		return fmt.Sprintf("the traces of %d of %d mirrors are of the future: look at this host's clock", failing, of)
	}},
	{SuspectRsync, CauseConnect, func(k *check) bool { return k.role == Rsync }, func(failing, _ int) string {
		return fmt.Sprintf("none of %d rsync daemons can be reached: look at this host's firewall (port 873)", failing)
	}},
	{SuspectHTTPS, CauseConnect, (*check).overTLS, func(failing, _ int) string {
		return fmt.Sprintf("none of %d mirrors can be reached over https: look at this host's firewall (port 443)", failing)
	}},
	{SuspectIPv4, CauseConnect, func(k *check) bool { return k.over(netip.Addr.Is4) }, func(failing, _ int) string {
		return fmt.Sprintf("none of %d mirrors can be reached over IPv4: look at this host's IPv4", failing)
	}},
	{SuspectIPv6, CauseConnect, func(k *check) bool { return k.over(netip.Addr.Is6) }, func(failing, _ int) string {
		return fmt.Sprintf("none of %d mirrors can be reached over IPv6: look at this host's IPv6", failing)
	}},
}

// clockError compares this host's clock with the Date headers of the mirrors, and returns a clause that says how far
// it is off, or "". Half of the mirrors may be wrong by any amount.
func (c *Checker) clockError() string {
	var ahead []time.Duration
	for _, m := range c.mirrors {
		for _, k := range m.checks {
			if k.dated {
				ahead = append(ahead, k.clockAhead)
				break
			}
		}
	}
	if len(ahead) < suspectMirrors {
		return ""
	}
	slices.Sort(ahead)
	switch median := ahead[len(ahead)/2].Round(time.Second); {
	case median > maxClockError:
		return fmt.Sprintf(", which is %v ahead of theirs", median)
	case median < -maxClockError:
		return fmt.Sprintf(", which is %v behind theirs", -median)
	}
	return ""
}

// maxClockError is how far a clock may be off before that is mentioned: Date headers come from caches, too.
const maxClockError = 5 * time.Minute

// overTLS reports whether a check asks for an https URL.
func (k *check) overTLS() bool { return k.role == HTTP && k.mirror.URL.Scheme == "https" }

// over reports whether a check asks a web server at an address of a family.
func (k *check) over(family func(netip.Addr) bool) bool { return k.role != Rsync && family(k.address) }

// failsBy reports whether a check failed with a cause the last time.
func (k *check) failsBy(cause Cause) bool {
	return !k.failingSince.IsZero() && k.verdict.Cause == cause
}

// passes reports whether a check passed the last time.
func (k *check) passes() bool { return !k.verdict.PassingSince.IsZero() }

// answers reports whether the latest check was answered, however wrongly.
func (k *check) answers() bool {
	return !k.failingSince.IsZero() && k.verdict.Cause != CauseConnect && k.verdict.Cause != CauseLocal
}

// A count is how the mirrors do that a common fault concerns.
type count struct {
	failing, of int
	together    bool // more than half of those that fail began to within a short time
	elsewhere   bool // a check that the fault does not concern passes
}

// countFault counts the mirrors that fail in the way of f, of those that do or pass. Mirrors at one host count once. A
// mirror fails so if one of its checks does, and none that f concerns passes.
func (c *Checker) countFault(f *commonFault) (n count) {
	var began []time.Time
	seen := map[string]bool{}
	for _, m := range c.mirrors {
		about, passes := false, false
		var since time.Time
		for k := range m.all {
			concerned := f.about(k)
			switch {
			case concerned && k.failsBy(f.cause):
				about = true
				if since.IsZero() || k.failingSince.Before(since) {
					since = k.failingSince
				}
			case concerned && (k.passes() || f.cause == CauseConnect && k.answers()):
				about, passes = true, true
			case k.passes():
				n.elsewhere = true
			}
		}
		if !about || !m.Enabled() || seen[m.web.host] {
			continue
		}
		seen[m.web.host] = true
		if n.of++; !since.IsZero() && !passes {
			n.failing++
			began = append(began, since)
		}
	}
	n.together = mostWithin(began, 2*c.policy.Interval+c.policy.Timeout)
	return n
}

// mostWithin reports whether more than half of the times are within d of each other.
func mostWithin(times []time.Time, d time.Duration) bool {
	for _, first := range times {
		n := 0
		for _, t := range times {
			if !t.Before(first) && t.Sub(first) <= d {
				n++
			}
		}
		if 2*n > len(times) {
			return true
		}
	}
	return false
}

// suspicious reports whether a fault's count speaks against this host. suspected says whether it did before.
//
// Faults of certificates and of the clock count by their share of the mirrors. That no connection can be made has many
// causes: there, all have to fail, to have begun together, and something else has to work.
func (f *commonFault) suspicious(n count, suspected bool) bool {
	enough := suspectMirrors
	if suspected {
		enough = suspectMirrors - 1 // one of them may really break meanwhile
	}
	switch {
	case n.failing < enough:
		return false
	case f.cause != CauseConnect:
		return 2*n.failing > n.of
	}
	return n.failing == n.of && n.elsewhere && (suspected || n.together)
}

// explains reports whether the suspect f explains why k fails. That no connection can be made over one family or port
// is not explained by it if the mirror fails over the others too.
func (f *commonFault) explains(k *check) bool {
	if !f.about(k) || !k.failsBy(f.cause) {
		return false
	}
	fails := false
	for _, other := range k.mirror.checks {
		if f.cause == CauseConnect && !f.about(other) {
			if other.passes() {
				return true
			}
			fails = true
		}
	}
	return !fails
}

// findSuspects returns what is suspected now, in the order of SuspectNames.
func (c *Checker) findSuspects(t *tally, now time.Time) []Suspect {
	var found []Suspect
	add := func(s Suspect) {
		s.Since = now
		if before := c.survey.suspect(s.Name); before != nil {
			s.Since = before.Since
		}
		found = append(found, s)
	}
	if c.survey.judgeNetwork(t, now, c.policy.Interval) {
		add(Suspect{Name: SuspectNetwork, Failing: t.failingMirrors, Of: t.upMirrors,
			Text: "most mirrors began to fail together: look at this host's network connection"})
	}
	if n := c.countDoubtful(now); n.failing >= 2 && 2*n.failing > n.of {
		add(Suspect{Name: SuspectResolver, Failing: n.failing, Of: n.of, Text: fmt.Sprintf("the addresses of %d of %d mirrors "+
			"are gone, or changed together: look at this host's resolver (/etc/resolv.conf)", n.failing, n.of)})
	}
	for i := range commonFaults {
		f := &commonFaults[i]
		n := c.countFault(f)
		if f.suspicious(n, c.survey.suspect(f.name) != nil) {
			text := f.tells(n.failing, n.of)
			if f.name == SuspectClock {
				text += c.clockError()
			}
			add(Suspect{Name: f.name, Failing: n.failing, Of: n.of, Text: text})
		}
	}
	return found
}

// judgeNetwork reports whether the local network is to be suspected.
func (s *survey) judgeNetwork(t *tally, now time.Time, interval time.Duration) bool {
	before := s.suspect(SuspectNetwork)
	if before == nil {
		return t.failedAtOnce()
	}
	return t.mostFail() && now.Sub(before.Since) <= suspectIntervals*interval
}

// failedAtOnce reports whether most checks that did not fail an interval ago do now.
func (t *tally) failedAtOnce() bool {
	before := t.wereUp - (t.failing - t.recent)
	return t.recentMirrors >= suspectMirrors && 2*t.recent > before
}

func (t *tally) mostFail() bool { return 2*t.failing > t.wereUp }

// countDoubtful counts the enabled mirrors' hosts that were looked up of late, and those of them whose addresses are
// gone, or all new. Where hosts that were in different networks have just got the same new address, no others count.
func (c *Checker) countDoubtful(now time.Time) (n count) {
	seen := map[string]bool{}
	sharing := map[netip.Addr]map[netip.Prefix]bool{} // from which networks hosts have come to an address
	for _, m := range c.mirrors {
		l := m.web
		doubtful := l.doubtful(c.settings.AllowPrivate)
		if !m.Enabled() || l.task == nil || seen[l.host] || !doubtful && now.Sub(l.at) > controlTime {
			continue
		}
		seen[l.host] = true
		n.of++
		if doubtful {
			n.failing++
			for addr, since := range l.claims.fresh {
				if now.Sub(since) > claimTime {
					continue
				}
				if sharing[addr] == nil {
					sharing[addr] = map[netip.Prefix]bool{}
				}
				for before := range l.claims.withdrawn {
					sharing[addr][networkOf(before)] = true
				}
			}
		}
	}
	for _, networks := range sharing {
		if len(networks) >= 2 {
			n.of = min(n.of, n.failing)
		}
	}
	return n
}

// setSuspects makes next what is suspected, and logs and signals what has changed.
func (c *Checker) setSuspects(next []Suspect) {
	before := c.survey.suspects
	c.survey.suspects = next
	named := func(list []Suspect, name string) bool {
		return slices.ContainsFunc(list, func(s Suspect) bool { return s.Name == name })
	}
	for _, s := range next {
		if !named(before, s.Name) {
			c.log.Warn("most mirrors fail alike, suspecting this host", zap.String("suspect", s.Name),
				zap.Int("failing", s.Failing), zap.Int("of", s.Of), zap.String("problem", s.Text))
			signal(c.changed)
		}
	}
	for _, s := range before {
		if !named(next, s.Name) {
			c.log.Info("this host is no longer suspected", zap.String("suspect", s.Name))
			if s.Name == SuspectResolver {
				c.survey.cleared = c.now()
			}
			c.recheckDown(c.now())
			signal(c.changed)
		}
	}
}

// suspect returns the suspect of a name, or nil.
func (s *survey) suspect(name string) *Suspect {
	for i := range s.suspects {
		if s.suspects[i].Name == name {
			return &s.suspects[i]
		}
	}
	return nil
}

func (s *survey) suspectsNetwork() bool { return s.suspect(SuspectNetwork) != nil }

// explanation returns the name of the suspect that explains why k fails, or "".
func (s *survey) explanation(k *check) string {
	for i := range commonFaults {
		if f := &commonFaults[i]; s.suspect(f.name) != nil && f.explains(k) {
			return f.name
		}
	}
	return ""
}
