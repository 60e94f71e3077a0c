package watch

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"
)

// modelRule says once more what opinions on an endpoint come to, - if to nothing: more than half of those that can tell
// find it unfit, or two have evidence; and one alone decides nothing.
func modelRule(said []byte) byte {
	count := func(letters string) (n int) {
		for _, letter := range said {
			n += bytes.Count([]byte(letters), []byte{letter})
		}
		return n
	}
	votes := count("udDS")
	switch {
	case votes < 2, votes == 2 && count("dDsS") == 1:
		return '-'
	case 2*count("dD") > votes || count("D") >= 2:
		return 'd'
	case 2*count("dDS") > votes || count("DS") >= 2:
		return 's'
	}
	return 'u'
}

// A modelJoint is what was decided, or seen, of an endpoint.
type modelJoint struct {
	letter  byte
	decided byte // while it is flapping, letter is another one
	at      time.Time
	votes   map[string]byte // of those that could tell, by server
	changes []time.Time
	upSince time.Time // since when the votes come to up
}

// votes are what those can tell of an endpoint that count now, by server.
func (s *modelServer) votes(e modelEndpoint) map[string]byte {
	votes := s.counted(e)
	votes[s.name] = s.says(e)
	maps.DeleteFunc(votes, func(_ string, letter byte) bool { return letter == '-' })
	return votes
}

// expect is what an endpoint has to be at the server.
func (s *modelServer) expect(e modelEndpoint) byte {
	votes := s.votes(e)
	letter := modelRule(lettersOf(votes))
	last, ever := s.joint[e]
	age := s.now().Sub(last.at)
	young := ever && age >= 0 && age <= modelYoung
	switch {
	case letter == '-' && young && (s.says(e) == '-' || len(votes) == 2 || !s.saw[e].at.After(last.at)):
		return last.letter
	case letter == '-':
		return letterOf(opinionsFrom(string(s.seen[e]))[0].State, false) // its own
	case young && letter != last.decided && modelRule(lettersOf(last.unless(votes))) == last.decided:
		return last.letter // some only abstain
	}
	s.joint[e] = last.then(letter, votes, s.now())
	return s.joint[e].letter
}

// unless is what would be said if those that have fallen silent said what they did.
func (j modelJoint) unless(votes map[string]byte) map[string]byte {
	all := maps.Clone(j.votes)
	maps.Copy(all, votes)
	return all
}

func lettersOf(votes map[string]byte) []byte { return slices.Collect(maps.Values(votes)) }

// then is what is decided after j. What has changed more than twelve times in an hour waits for ten intervals before
// it is up again. What would be in the future was under a clock that has been set back, and says nothing.
func (j modelJoint) then(letter byte, votes map[string]byte, now time.Time) modelJoint {
	next := modelJoint{letter: letter, decided: letter, at: now, votes: votes, changes: j.changes}
	if letter == 'u' {
		if next.upSince = j.upSince; next.upSince.IsZero() || next.upSince.After(now) {
			next.upSince = now
		}
	}
	if j.letter == 0 || (j.letter == 'u') == (letter == 'u') {
		return next
	}
	next.changes = nil
	for _, at := range j.changes {
		if !at.After(now) && now.Before(at.Add(time.Hour)) {
			next.changes = append(next.changes, at)
		}
	}
	if letter == 'u' && len(next.changes) >= 12 && now.Sub(next.upSince) < 10*modelInterval {
		next.letter = j.letter
		return next
	}
	next.changes = append(next.changes, now)
	next.changes = next.changes[max(len(next.changes)-12, 0):]
	return next
}

// butOne is what all that can tell say but one, whatever that one says; 0 if they do not agree, or there are too few.
func butOne(said []byte) byte {
	able := bytes.ToLower(bytes.ReplaceAll(said, []byte("-"), nil))
	for _, letter := range able {
		if n := bytes.Count(able, []byte{letter}); len(able) > 2 && n >= len(able)-1 {
			return letter
		}
	}
	return 0
}

// damps reports whether what is decided of an endpoint may be held back.
func (s *modelServer) damps(e modelEndpoint) bool { return len(s.joint[e].changes) >= 12 }

// checkAge holds that no opinion counts which its watcher gave up long ago.
func (s *modelServer) checkAge() error {
	if s.world.time.Sub(s.stepped) < time.Hour { // a real clock's steps do not change how long ago something was
		return nil
	}
	for _, other := range s.world.servers {
		if p := s.peers[other.name]; p == nil || !s.counts(p) {
			continue
		}
		for _, e := range modelEndpoints {
			for _, o := range s.members[other.name].book.mirrors[e.prefix()].List {
				last := other.told[e][letterOf(o.State, o.Evidence)]
				if age := s.world.time.Sub(last); o.Role == e.role && age > modelPatience+20*time.Second {
					return fmt.Errorf("at %s counts what %s said of %v %v ago", s.name, other.name, e, age)
				}
			}
		}
	}
	return nil
}

// checkHeld holds that a server which takes what another one says for all has that.
func (s *modelServer) checkHeld() error {
	for _, other := range s.world.servers {
		m := s.members[other.name]
		if other.stopped || m == nil || m.book.latest != other.own.latest || !m.book.current() {
			continue
		}
		for prefix, said := range other.own.mirrors {
			held := m.book.mirrors[prefix]
			if s.wants(prefix) && !said.says(held.List, held.Release) {
				return fmt.Errorf("%s takes for all that %s says of %s: %v, and it says %v", s.name, other.name, prefix, held, said)
			}
		}
	}
	return nil
}
