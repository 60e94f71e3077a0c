package watch

import (
	"bytes"
	"slices"
	"strings"
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
	said    []byte
	changes []time.Time
	upSince time.Time // since when the votes come to up
}

// expect is what an endpoint has to be at the server.
func (s *modelServer) expect(e modelEndpoint) byte {
	said := append(s.counted(e), s.says(e))
	letter := modelRule(said)
	last, ever := s.joint[e]
	age := s.now().Sub(last.at)
	young := ever && age >= 0 && age <= modelYoung
	tie := len(said)-bytes.Count(said, []byte{'-'}) == 2
	switch {
	case letter == '-' && young && (s.says(e) == '-' || tie || !s.saw[e].at.After(last.at)):
		return last.letter
	case letter == '-':
		return letterOf(opinionsFrom(string(s.seen[e]))[0].State, false) // its own
	case young && letter != last.decided && speaksFor(letter, said) <= speaksFor(letter, last.said):
		return last.letter // some only abstain
	}
	s.joint[e] = last.then(letter, said, s.now())
	return s.joint[e].letter
}

// speaksFor is how much of what was said speaks for a verdict: evidence does twice.
func speaksFor(letter byte, said []byte) (n int) {
	for _, c := range said {
		n += strings.Count(map[byte]string{'u': "u", 'd': "dDD", 's': "dDDsSS"}[letter], string(c))
	}
	return n
}

// then is what is decided after j. What has changed more than twelve times in an hour waits for ten intervals before
// it is up again.
func (j modelJoint) then(letter byte, said []byte, now time.Time) modelJoint {
	next := modelJoint{letter: letter, decided: letter, at: now, said: said, changes: j.changes}
	if letter == 'u' {
		if next.upSince = j.upSince; next.upSince.IsZero() {
			next.upSince = now
		}
	}
	if j.letter == 0 || (j.letter == 'u') == (letter == 'u') {
		return next
	}
	n := len(j.changes)
	if letter == 'u' && n >= 12 && now.Sub(j.changes[n-12]) < time.Hour && now.Sub(next.upSince) < 10*modelInterval {
		next.letter = j.letter
		return next
	}
	next.changes = append(slices.Clone(j.changes), now)
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
