package dnssec

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A simulation is a zone during a rollover, on a host that starts again at times, with a clock that is set now and
// then. Its parent does what CDS has asked for during some hours, and caches keep DS records for a day.
type simulation struct {
	*testing.T
	random *rand.Rand
	dir    string
	keys   *Keys
	past   Past
	parent []*dns.DS
	asked  int // for how many hours the parent was asked for something else
	slow   int // for how many it has to be

	hour    int
	offset  time.Duration // of the clock
	right   int           // for how many hours the clock has been
	anchors [][]*dns.DS   // what the parent had, by hour
	sets    [][]*Key      // what was published, by hour
}

const (
	simulatedTTL   = 24 * time.Hour // of the DS records
	simulatedHours = 24 * 24
)

func newSimulation(t *testing.T, seed uint64, algorithm string) *simulation {
	t.Helper()
	s := &simulation{T: t, random: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir(), right: 24}
	k, err := read(testConfig(), s.dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	s.parent, s.slow = []*dns.DS{k.All[0].DS()}, 5+s.random.IntN(48)
	if s.keys, err = k.Roll(algorithm, testNow, 2*time.Hour); err == nil {
		err = s.keys.Save()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *simulation) now() time.Time { return testNow.Add(time.Duration(s.hour)*time.Hour + s.offset) }

// setClock sets the clock by an hour to a year, back or, if it may be, ahead; or to the right time.
func (s *simulation) setClock(ahead bool) {
	s.right++
	switch {
	case s.offset != 0 && s.random.IntN(3) == 0 || s.hour > simulatedHours/2 && s.hour < simulatedHours*3/4:
		s.offset = 0
	case s.random.IntN(6) == 0:
		s.offset = -time.Duration(math.Pow(365*24, s.random.Float64()) * float64(time.Hour)).Truncate(time.Second)
		if ahead && s.random.IntN(2) == 0 {
			s.offset = -s.offset
		}
	}
	if s.offset != 0 {
		s.right = 0
	}
}

// restart has all that is known come from the files.
func (s *simulation) restart() {
	err := s.past.Keep(s.dir, testZone)
	if err == nil {
		err = s.keys.Save()
	}
	if err != nil {
		s.Fatal(err)
	}
	if s.keys, err = read(testConfig(), s.dir, s.now()); err != nil {
		s.Fatalf("after %d hours, by a clock that is %v ahead: %v", s.hour, s.offset, err)
	}
	if s.past, err = Recall(s.dir, testZone); err != nil {
		s.Fatal(err)
	}
}

// look looks at the parent, and has the rollover go on.
func (s *simulation) look() {
	view := &View{DS: s.parent, TTL: time.Duration(1+s.random.IntN(24)) * time.Hour, At: s.now(), Latest: s.past.Parent.Latest}
	s.past.Parent = s.past.Parent.With(view)
	view.TTL = max(view.TTL, s.past.Parent.Longest)
	s.keys = s.keys.Advance(view, 2*time.Hour)
}

// serve notes what is served and what the parent makes of it, by its own clock.
func (s *simulation) serve() {
	r, err := s.keys.at(s.now())
	if err != nil {
		s.Fatalf("after %d hours, by a clock that is %v ahead: %v", s.hour, s.offset, err)
	}
	s.anchors, s.sets = append(s.anchors, s.parent), append(s.sets, r.published)
	if s.right >= 2 {
		s.check(r)
	}
	switch {
	case s.offset != 0: // which the signatures' times show
	case len(r.synced) == len(s.parent) && r.synced[0].Tag == s.parent[0].KeyTag:
		s.asked = 0
	default:
		s.asked++
	}
	if s.asked == s.slow {
		s.parent, s.asked = nil, 0
		for _, key := range r.synced {
			s.parent = append(s.parent, key.DS())
		}
	}
}

// check wants all caches to take the zone for good: with the DS and DNSKEY records that they may have.
func (s *simulation) check(r *roles) {
	for _, ds := range s.anchors[max(0, len(s.anchors)-int(simulatedTTL/time.Hour)):] {
		if !slices.ContainsFunc(r.signKeys, func(key *Key) bool { return (&View{DS: ds}).has(key) }) {
			s.Fatalf("after %d hours, caches may have DS records that name no key: %s", s.hour, s.keys.describe(s.now()))
		}
	}
	for _, set := range s.sets[max(0, len(s.sets)-2):] {
		if !slices.ContainsFunc(r.signZone, func(key *Key) bool {
			return slices.ContainsFunc(set, func(other *Key) bool { return other.id == key.id })
		}) {
			s.Fatalf("after %d hours, caches may have DNSKEY records without a key that signs: %s", s.hour, s.keys.describe(s.now()))
		}
	}
}

// TestRolloverWithWrongClocks sets clocks back and puts them right. It wants the zone to be good in all caches whenever
// the clock is right, and the rollover to end. With clocks that are ahead, which shorten waits, the zone has to be
// signed.
func TestRolloverWithWrongClocks(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"", "ED25519"} {
		for seed := range uint64(16) {
			s := newSimulation(t, seed, algorithm)
			ahead := seed%4 == 3
			for s.hour = range simulatedHours {
				s.setClock(ahead)
				if ahead {
					s.right = 0
				}
				if s.random.IntN(20) == 0 {
					s.restart()
				}
				s.look()
				s.serve()
			}
			s.offset = 0
			r, err := s.keys.at(s.now())
			if err != nil || !slices.ContainsFunc(r.signKeys, func(key *Key) bool { return (&View{DS: s.parent}).has(key) }) {
				t.Errorf("%q, %d: in the end the keys are %s: %v", algorithm, seed, s.keys.describe(s.now()), err)
			}
			if !ahead && (len(r.published) != 1 || len(s.parent) != 1 || r.signZone[0].DS().KeyTag != s.parent[0].KeyTag) {
				t.Errorf("%q, %d: the rollover has not ended: %s", algorithm, seed, s.keys.describe(s.now()))
			}
		}
	}
}
