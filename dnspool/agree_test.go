package dnspool

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestAgreedDecks: two servers that have come to the same candidates in different ways deal the same cards.
func TestAgreedDecks(t *testing.T) {
	t.Parallel()
	const now = "a 1 192.0.2.1=up/up\nb 2 192.0.2.2=up/up\nc 3 192.0.2.3=up/up\nd 1 192.0.2.4=down/up\n"
	build := func(w world, previous *Snapshot, seed uint64) *Snapshot {
		in := w.input(t)
		in.Rand, in.Previous, in.Agree = rand.New(rand.NewPCG(seed, seed)), previous, &Agreement{Name: "fra", Zone: 7}
		return Build(in)
	}
	direct := build(now, nil, 1)
	before := build("a 1 192.0.2.1=up/up\nb 2 192.0.2.2=down/up\nc 3 192.0.2.3=up/up\nd 1 192.0.2.4=up/up\n", nil, 2)
	detour := build(now, before, 3)
	if !slices.Equal(direct.dns[IPv4].Deck.places, detour.dns[IPv4].Deck.places) || direct.Content != detour.Content {
		t.Error("two servers with the same candidates deal other cards")
	}
	if slices.Equal(direct.dns[IPv4].Deck.places, before.dns[IPv4].Deck.places) || direct.Content == before.Content {
		t.Error("other candidates, and the same cards or content")
	}
	if again := build(now, direct, 4); &again.dns[IPv4].Deck.places[0] != &direct.dns[IPv4].Deck.places[0] {
		t.Error("a deck is made anew though the candidates are the same")
	}
	moved := build("a 1 192.0.2.9=up/up\nb 2 192.0.2.2=up/up\nc 3 192.0.2.3=up/up\nd 1 192.0.2.4=down/up\n", nil, 1)
	if slices.Equal(direct.dns[IPv4].Deck.places, moved.dns[IPv4].Deck.places) {
		t.Error("the shuffle does not depend on the addresses")
	}
	in := world(now).input(t)
	in.Agree, in.Policy.MaxAnswers = &Agreement{Name: "fra", Zone: 7}, 1
	if Build(in).Content == direct.Content {
		t.Error("shorter answers, and the same content")
	}
	in = world(now).input(t)
	in.Agree = &Agreement{Name: "fra", Zone: 8}
	if Build(in).Content == direct.Content {
		t.Error("another zone file, and the same content")
	}
}

// TestAgreedNearDecks: servers that agree deal the same cards to clients at a place, whichever way they have come to
// the group, and one that stands for itself deals its own.
func TestAgreedNearDecks(t *testing.T) {
	t.Parallel()
	build := func(a atlas, agree *Agreement, previous *Snapshot, now time.Time) *Snapshot {
		in := nearInput(t, a, testSelection)
		for _, m := range in.Pool.Mirrors { // for the atlas tells of role HTTP
			endpoints := in.Health.Mirrors[m.URLPrefix].Endpoints
			endpoints[1].State = endpoints[0].State
		}
		in.Agree, in.Previous, in.Now = agree, previous, now
		return Build(in)
	}
	deck := func(s *Snapshot, place string) []int32 {
		at := testPlaces[place]
		near, ok := s.Near(new(Choice), IPv4, &at)
		if !ok {
			t.Fatalf("the answers in %s are those of all", place)
		}
		return s.NearDeck(IPv4, &near, 1).places
	}
	const now = "b 10 berlin-dfn\nv 10 vienna\np 20 paris\ns 90 sydney\n"
	fra, ams := &Agreement{Name: "fra"}, &Agreement{Name: "ams"}
	first := build(now, fra, nil, testNow)
	before := build("b 10 berlin-dfn\nv 10 vienna down\np 20 paris\ns 90 sydney\n", ams, nil, testNow)
	second := build(now, ams, before, testNow.Add(3*turnTime))
	if !slices.Equal(deck(first, "berlin"), deck(second, "berlin")) {
		t.Error("two servers deal other cards to clients at the same place")
	}
	if slices.Equal(deck(first, "berlin"), deck(first, "sydney")) || slices.Equal(deck(first, "berlin"), deck(before, "berlin")) {
		t.Error("other candidates get the same cards")
	}
	if alone := build(now, nil, nil, testNow); slices.Equal(deck(alone, "berlin"), deck(alone, "berlin")) {
		t.Error("a server that stands for itself deals the same cards twice")
	}
	const least = "a 100000 berlin\nb 100000 berlin\nc 100000 berlin\nd 1 berlin\n" // d is on none of the cards in some turns
	agreed := build(least, fra, nil, testNow)
	if !slices.Equal(deck(agreed, "berlin"), deck(build(least, ams, nil, testNow), "berlin")) {
		t.Error("two servers give turns to others at the same time")
	}
	if slices.Equal(deck(agreed, "berlin"), deck(build(least, fra, nil, testNow.Add(turnTime)), "berlin")) {
		t.Error("one that is on no card does not get its turn")
	}
}

// TestAgreedLastResort: servers with the same joint verdicts serve the same mirrors where all are down, and where the
// group has just been in panic at one of them, whatever each has seen before.
func TestAgreedLastResort(t *testing.T) {
	t.Parallel()
	served := func(w world, passed []int, previous *Snapshot) (*Snapshot, string) {
		in := w.input(t)
		for i, m := range in.Pool.Mirrors {
			for k := range in.Health.Mirrors[m.URLPrefix].Endpoints {
				if passed != nil {
					in.Health.Mirrors[m.URLPrefix].Endpoints[k].JointPassed = worldTime.Add(-time.Duration(passed[i]) * time.Minute)
				}
			}
		}
		in.Previous, in.Agree = previous, &Agreement{Name: "fra"}
		s := Build(in)
		return s, fmt.Sprint(s.dns[IPv4].Addresses)
	}
	joint := []int{60, 5, 90, 5}
	_, first := served("a 1 192.0.2.1=down@1/up\nb 1 192.0.2.2=down@99/up\nc 1 192.0.2.3=down@1/up\nd 1 192.0.2.4=down@7/up\n", joint, nil)
	_, second := served("a 1 192.0.2.1=passing/up\nb 1 192.0.2.2=down@50/up\nc 1 192.0.2.3=down@2/up\nd 1 192.0.2.4=passing/up\n", joint, nil)
	if first != "[192.0.2.2 192.0.2.4]" || second != first {
		t.Errorf("all are down: one serves %s, and another %s, want those that passed last by the word of all", first, second)
	}
	var calm, panicked world
	for i := range calmSize {
		state := [2]string{"up", "suspected"}
		panicked += world(fmt.Sprintf("m%d 1 192.0.2.%d=%s/up\n", i, i+1, state[min(i/(calmSize/2-1), 1)]))
		calm += world(fmt.Sprintf("m%d 1 192.0.2.%d=%s/up\n", i, i+1, state[i/(calmSize/2)]))
	}
	before, _ := served(panicked, nil, nil)
	_, first = served(calm, nil, before)
	_, second = served(calm, nil, nil)
	if !before.dns[IPv4].Panic || first != second {
		t.Errorf("one was in panic before: %v; it serves %s, another %s", before.dns[IPv4].Panic, first, second)
	}
}

// TestContent: whatever DNS tells is in the content, and nothing else.
func TestContent(t *testing.T) {
	t.Parallel()
	const base = "a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n"
	content := func(w world) uint64 {
		in := w.input(t)
		in.Agree = &Agreement{Name: "fra"}
		return Build(in).Content
	}
	contents := map[uint64]world{}
	for _, w := range []world{
		base,
		base + "c 0 192.0.2.3=up/up\n", // has a name without an address
		base + "d 0 192.0.2.3=up/up\n",
		base + "c 1 192.0.2.3=down/up\n", // has an address at its name alone
		base + "c 1 192.0.2.4=down/up\n",
		base + "c 0 192.0.2.3=up/up\nde 0 192.0.2.4=up/up\n",
		base + "cd 0 192.0.2.3=up/up\ne 0 192.0.2.4=up/up\n",
		"a 1 192.0.2.1=up/up\nb 2 192.0.2.2=up/up\n",
		"b 1 192.0.2.1=up/up\na 1 192.0.2.2=up/up\n",
	} {
		c := content(w)
		if other, taken := contents[c]; taken {
			t.Errorf("the same content of\n%s\nand\n%s", other, w)
		}
		contents[c] = w
	}
	if content(base+"c 0 192.0.2.3=up/up\n") != content(base+"c 0 192.0.2.4=down/up\n") {
		t.Error("the address of a disabled mirror is in the content")
	}
	if content(base) != content("a 1 192.0.2.1=up/down\nb 1 192.0.2.2=up/up\n") {
		t.Error("what redirects know is in the content")
	}
}

// TestAgreedTurns: of more candidates than a deck has places, each gets its turn, and at each time all servers deal the
// same.
func TestAgreedTurns(t *testing.T) {
	t.Parallel()
	g := &DNSGroup{}
	for i := range 3 * maxCards {
		g.Addresses = append(g.Addresses, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		g.Weights = append(g.Weights, 1)
	}
	now := time.Unix(1_800_000_000, 0).Truncate(turnTime)
	first, again := g.agreedDeck(nil, 1, now), g.agreedDeck(nil, 1, now.Add(turnTime-time.Second))
	later := g.agreedDeck(nil, 1, now.Add(turnTime))
	if !slices.Equal(first.places, again.places) || slices.Equal(first.places, later.places) {
		t.Error("the turns do not follow the time alone")
	}
	few := &DNSGroup{Addresses: g.Addresses[:5], Weights: g.Weights[:5]}
	if a, b := few.agreedDeck(nil, 1, now), few.agreedDeck(nil, 1, now.Add(turnTime)); !slices.Equal(a.places, b.places) {
		t.Error("a deck on which all have a place changes with time")
	}
}

func TestAgreedSerial(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	const mine, last, fresh = 5, 1000, 1_800_000_000
	for name, test := range map[string]struct {
		others  map[string]ZoneVersion
		last    uint32
		changed bool
		want    uint32
	}{
		"alone":                                  {nil, last, false, last},
		"alone, changed":                         {nil, last, true, fresh},
		"all have the same":                      {map[string]ZoneVersion{"ams": {Serial: last, Content: mine}}, last, false, last},
		"another has it under a higher serial":   {map[string]ZoneVersion{"ams": {Serial: last + 1, Content: mine}}, last, false, last + 1},
		"the highest of several":                 {map[string]ZoneVersion{"ams": {Serial: last + 1, Content: mine}, "nyc": {Serial: last + 3, Content: mine}}, last, false, last + 3},
		"another has it under a lower serial":    {map[string]ZoneVersion{"ams": {Serial: last - 1, Content: mine}}, last, false, last},
		"changed to what another has":            {map[string]ZoneVersion{"ams": {Serial: last + 1, Content: mine}}, last, true, last + 1},
		"changed to something new":               {map[string]ZoneVersion{"ams": {Serial: fresh + 9, Content: 6}}, last, true, fresh + 10},
		"others have something else":             {map[string]ZoneVersion{"ams": {Serial: last + 1, Content: 6}}, last, false, last},
		"a clash with one whose name is first":   {map[string]ZoneVersion{"ams": {Serial: last, Content: 6}}, last, false, last},
		"a clash with one whose name is later":   {map[string]ZoneVersion{"nyc": {Serial: last, Content: 6}}, last, false, fresh},
		"a clash, and the time is used already":  {map[string]ZoneVersion{"nyc": {Serial: fresh, Content: 6}}, fresh, false, fresh + 1},
		"an absurd serial":                       {map[string]ZoneVersion{"ams": {Serial: last + 1<<31 - 2, Content: mine}}, last, false, last},
		"an absurd serial of something else":     {map[string]ZoneVersion{"ams": {Serial: fresh + 90_000, Content: 6}}, last, true, fresh},
		"a clock that is an hour ahead":          {map[string]ZoneVersion{"ams": {Serial: fresh + 3600, Content: 6}}, last, true, fresh + 3601},
		"the first of this server":               {nil, 0, true, fresh},
		"the first, and another serves the same": {map[string]ZoneVersion{"ams": {Serial: last, Content: mine}}, 0, true, last},
	} {
		a := &Agreement{Name: "fra", Versions: test.others}
		if got := a.serial(mine, test.last, fresh, test.changed, now); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// TestSerialsConverge has servers change what they tell, and hear of each other in any order. When all tell the same,
// they come to one serial soon; none goes back, and no two that know of each other keep one serial for two contents.
func TestSerialsConverge(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 5))
		names := []string{"ams", "fra", "nyc", "tor"}[:2+rng.IntN(3)]
		versions := make([]ZoneVersion, len(names))
		heard := make([]map[string]ZoneVersion, len(names))
		for i := range heard {
			heard[i] = map[string]ZoneVersion{}
		}
		now := time.Unix(1_800_000_000, 0)
		step := func(i int, content uint64) (moved bool) {
			a := &Agreement{Name: names[i], Versions: heard[i]}
			before := versions[i]
			serial := a.serial(content, before.Serial, uint32(now.Unix()), content != before.Content, now)
			if before.Serial != 0 && serial != before.Serial && !after(serial, before.Serial) {
				t.Fatalf("seed %d: %s goes back from %d to %d", seed, names[i], before.Serial, serial)
			}
			versions[i] = ZoneVersion{Serial: serial, Content: content}
			return versions[i] != before
		}
		tell := func(from, to int) { heard[to][names[from]] = versions[from] }
		for range 100 {
			i, k := rng.IntN(len(names)), rng.IntN(len(names))
			switch rng.IntN(3) {
			case 0:
				step(i, uint64(1+rng.IntN(3)))
			case 1:
				if i != k && versions[i].Serial != 0 {
					tell(i, k)
				}
			case 2:
				if versions[i].Serial != 0 {
					step(i, versions[i].Content)
				}
				now = now.Add(time.Duration(rng.IntN(3)) * time.Second)
			}
		}
		rounds := 0
		for moving := true; moving; rounds++ {
			moving = false
			for i := range names {
				moving = step(i, 9) || moving
				for k := range names {
					if i != k {
						tell(i, k)
					}
				}
			}
			if rounds > 4 {
				t.Fatalf("seed %d: no end: %v", seed, versions)
			}
		}
		for _, v := range versions {
			if v != versions[0] {
				t.Fatalf("seed %d: they tell the same, and differ: %v", seed, versions)
			}
		}
	}
}
