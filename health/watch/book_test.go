package watch

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mirrorpool/health"
)

func all(string) bool { return true }

// books compares what books hold.
var books = cmp.Options{cmp.AllowUnexported(Book{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(Book{}, "begun")}

// TestMergeInAnyOrder has a watcher say many things, and others hear them in any order, in part, again, and by way of
// each other. With the same messages heard, they hold the same, which is what the watcher says.
func TestMergeInAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 24))
		var own Book
		own.begin(time.Unix(1e9, 0))
		var said []*View
		for range 1 + rng.IntN(30) {
			if rng.IntN(4) == 0 {
				if news := own.setNote("fra", randomTopic(rng), fmt.Append(nil, rng.IntN(3))); news != nil {
					said = append(said, news)
				}
			}
			if news, whole := own.observe(randomReport(rng), "fra"); whole {
				v := own.view("fra")
				v.Mirrors = maps.Clone(v.Mirrors)
				said = append(said, v)
			} else if news != nil {
				said = append(said, news)
			}
		}
		want := own
		var first, second Book
		for _, b := range []*Book{&first, &second} {
			order := rng.Perm(len(said))
			for _, i := range append(order, order[:rng.IntN(len(order)+1)]...) {
				b.Merge(said[i], all)
			}
		}
		if diff := cmp.Diff(want, first, books); diff != "" {
			t.Fatalf("seed %d: -said +heard:\n%s", seed, diff)
		}
		if diff := cmp.Diff(first, second, books); diff != "" {
			t.Fatalf("seed %d: -heard +heard in another order:\n%s", seed, diff)
		}
		var half, relayed Book
		for _, v := range said[:len(said)/2] {
			half.Merge(v, all)
		}
		relayed.Merge(own.view("fra"), all)
		if relayed.Merge(half.view("fra"), all) {
			t.Fatalf("seed %d: an old view has changed something", seed)
		}
		half.Merge(relayed.view("fra"), all)
		if diff := cmp.Diff(want, half, books); diff != "" {
			t.Fatalf("seed %d: by way of another, -said +heard:\n%s", seed, diff)
		}
	}
}

func randomTopic(rng *rand.Rand) Topic {
	return [...]Topic{TopicDrains, TopicList, TopicChallenges, TopicCorrupt}[rng.IntN(4)]
}

// randomReport is of up to four mirrors with up to two endpoints each.
func randomReport(rng *rand.Rand) *health.Report {
	r := &health.Report{Mirrors: map[string]health.MirrorReport{}}
	if rng.IntN(4) == 0 {
		r.Suspects = []health.Suspect{{Name: health.SuspectResolver}}
	}
	stable := rng.IntN(3) > 0 // most of the time the list does not change
	for i := range 4 {
		if !stable && rng.IntN(2) == 0 {
			continue
		}
		var m health.MirrorReport
		for k := range 1 + rng.IntN(2) {
			state := health.State(rng.IntN(4))
			m.Endpoints = append(m.Endpoints, health.Endpoint{
				Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(k)}), Verdict: health.Verdict{State: state, Reason: "connect: " + state.String()},
			})
		}
		m.Release = rng.Uint64N(2)
		r.Mirrors[fmt.Sprintf("https://m%d.example.net/", i)] = m
	}
	return r
}

// TestMergeSaysWhatHasChanged: a message that changes nothing is no reason to decide anew.
func TestMergeSaysWhatHasChanged(t *testing.T) {
	t.Parallel()
	opinion := func(s health.State) Opinion { return Opinion{Role: health.HTTP, State: s} }
	view := func(count, complete uint64, suspects string, mirrors map[string]Opinions) *View {
		return &View{Watcher: "fra", Count: count, Complete: complete, Suspects: suspects, Mirrors: mirrors}
	}
	up, down := []Opinion{opinion(health.Up)}, []Opinion{opinion(health.Down)}
	var b Book
	for i, step := range []struct {
		view *View
		want bool
	}{
		{view(5, 5, "", map[string]Opinions{"a": {5, up, 0}, "b": {5, up, 0}}), true},
		{view(5, 5, "", map[string]Opinions{"a": {5, up, 0}, "b": {5, up, 0}}), false},
		{view(6, 0, "", nil), false},
		{view(7, 0, "clock", nil), true},
		{view(6, 0, "", nil), false},
		{view(8, 0, "clock", map[string]Opinions{"a": {8, down, 0}}), true},
		{view(7, 0, "clock", map[string]Opinions{"a": {7, up, 0}}), false},
		{view(4, 0, "", map[string]Opinions{"c": {4, up, 0}}), false},
		{view(9, 9, "clock", map[string]Opinions{"a": {9, down, 0}, "b": {9, up, 0}}), false},
		{view(10, 10, "clock", map[string]Opinions{"a": {10, down, 0}}), true},
		{view(11, 0, "clock", map[string]Opinions{"unwanted": {11, down, 0}}), false},
	} {
		if got := b.Merge(step.view, func(p string) bool { return p != "unwanted" }); got != step.want {
			t.Errorf("step %d: changed %v, want %v", i, got, step.want)
		}
	}
	moved := view(12, 0, "clock", nil)
	moved.Zone = ZoneVersion{Serial: 1}
	if !b.Merge(moved, all) || b.zone != moved.Zone {
		t.Error("another version of the zone is no change")
	}
	if got := slices.Sorted(maps.Keys(b.mirrors)); !slices.Equal(got, []string{"a"}) || b.mirrors["a"].List[0].State != health.Down {
		t.Errorf("left: %v", b.mirrors)
	}
}

// TestObserve: a watcher says what has changed, and all anew where the list of mirrors has.
func TestObserve(t *testing.T) {
	t.Parallel()
	report := func(mirrors map[string]health.State) *health.Report {
		r := &health.Report{Mirrors: map[string]health.MirrorReport{}}
		for prefix, state := range mirrors {
			r.Mirrors[prefix] = health.MirrorReport{Endpoints: []health.Endpoint{{Verdict: health.Verdict{State: state}}}}
		}
		return r
	}
	type states = map[string]health.State
	var b Book
	for i, step := range []struct {
		now   states
		news  []string // nil: nothing
		whole bool
	}{
		{states{"a": health.Up, "b": health.Up}, []string{"a", "b"}, true},
		{states{"a": health.Up, "b": health.Up}, nil, false},
		{states{"a": health.Up, "b": health.Down}, []string{"b"}, false},
		{states{"a": health.Up, "b": health.Down}, nil, false},
		{states{"a": health.Up, "c": health.Down}, []string{"a", "c"}, true},
		{states{"a": health.Down, "c": health.Down}, []string{"a"}, false},
		{states{"a": health.Down}, []string{"a"}, true},
		{states{"a": health.Up, "b": health.Up}, []string{"a", "b"}, true},
	} {
		news, whole := b.observe(report(step.now), "fra")
		var got []string
		if news != nil {
			got = slices.Sorted(maps.Keys(news.Mirrors))
		}
		if !slices.Equal(got, step.news) || whole != step.whole || (news == nil) != (step.news == nil) {
			t.Errorf("step %d: news of %q, whole %v, want %q, %v", i, got, whole, step.news, step.whole)
		}
		for prefix, state := range step.now {
			if o := b.mirrors[prefix].List; len(o) != 1 || o[0].State != state {
				t.Errorf("step %d: %s is %+v, want %v", i, prefix, o, state)
			}
		}
		if len(b.mirrors) != len(step.now) {
			t.Errorf("step %d: %d mirrors", i, len(b.mirrors))
		}
	}
	count := b.count
	for _, echo := range []uint64{count, count - 1} {
		b.surpass(echo, math.MaxUint64)
		if news, _ := b.observe(report(states{"a": health.Up, "b": health.Up}), "fra"); news != nil || b.count != count {
			t.Error("it hears itself, and says all anew")
		}
	}
	r := report(states{"a": health.Up, "b": health.Up})
	r.Suspects = []health.Suspect{{Name: health.SuspectClock}}
	if news, whole := b.observe(r, "fra"); news == nil || whole || news.Suspects != health.SuspectClock || len(news.Mirrors) > 0 {
		t.Errorf("it suspects its clock, and says %+v, whole %v", news, whole)
	}
	b.forget(func(prefix string) bool { return prefix == "b" })
	if got := slices.Sorted(maps.Keys(b.mirrors)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("left: %q", got)
	}
}

// TestRestart: what a watcher says after a restart replaces what it said before, even if its clock was set back.
func TestRestart(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var before, after, other Book
	before.begin(time.Unix(2e9, 0))
	before.observe(randomReport(rng), "fra")
	other.Merge(before.view("fra"), all)
	after.begin(time.Unix(1e9, 0))
	report := &health.Report{Mirrors: map[string]health.MirrorReport{"https://m0.example.net/": {}}}
	after.observe(report, "fra")
	if other.Merge(after.view("fra"), all) {
		t.Error("a lower count has changed something")
	}
	after.surpass(other.count, math.MaxUint64) // the others have told it
	if news, whole := after.observe(report, "fra"); news == nil || !whole {
		t.Error("it does not say all anew")
	}
	other.Merge(after.view("fra"), all)
	if diff := cmp.Diff(after, other, books); diff != "" {
		t.Errorf("-said +heard:\n%s", diff)
	}
}

// TestRestartsHalfHeard: a watcher's clock was set back, and it restarts twice. Each time it hears of its first run
// alone, from one other watcher, while a second one has heard more of each. What it says in the end replaces that, too.
func TestRestartsHalfHeard(t *testing.T) {
	t.Parallel()
	says := func(state health.State) *health.Report {
		return &health.Report{Mirrors: map[string]health.MirrorReport{"https://m0.example.net/": {Endpoints: []health.Endpoint{
			{Verdict: health.Verdict{State: state, Reason: "connect: timed out"}}}}}}
	}
	var little, much Book
	var run Book
	run.begin(time.Unix(2e9, 0))
	run.observe(says(health.Up), "fra")
	little.Merge(run.view("fra"), all)
	for _, state := range []health.State{health.Down, health.Stale, health.Up} {
		run.observe(says(state), "fra")
		much.Merge(run.view("fra"), all)
	}
	for i, state := range []health.State{health.Down, health.Stale} {
		run = Book{}
		run.begin(time.Unix(1e9+int64(i), 0))
		if !run.surpass(little.count, math.MaxUint64) {
			t.Fatal("the first run had a lower count")
		}
		run.observe(says(state), "fra")
		much.Merge(run.view("fra"), all)
		if got := much.mirrors["https://m0.example.net/"].List[0].State; got != state {
			t.Errorf("after restart %d it says %v, and is heard to say %v", i+1, state, got)
		}
	}
}

// TestHostileViews: whatever a member sends, what is kept is bounded, and what is no view is refused.
func TestHostileViews(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, `{`, `[]`, `{"w":""}`, `{"w":"two words"}`, `{"w":"` + string(slices.Repeat([]byte("x"), 64)) + `"}`,
		`{"w":"a,b"}`, `{"w":"fra","n":-1}`, `{"w":"fra","n":1,"m":{"a":{"n":2}}}`, `{"w":"fra","n":3,"c":2,"m":{"a":{"n":1}}}`,
		`{"w":"fra","m":{"a":{"o":[{"a":"nonsense"}]}}}`, `{"w":"fra","m":{"a":{"o":[{"r":"smtp","s":"up"}]}}}`,
		`{"w":"fra","m":{"a":{"o":[{"r":"http","s":"broken"}]}}}`,
		`{"w":"fra","s":"` + string(slices.Repeat([]byte("x"), 201)) + `"}`,
		`{"w":"fra","m":{"a":{"o":[{"r":"http","s":"up","w":"` + string(slices.Repeat([]byte("x"), 201)) + `"}]}}}`,
		`{"w":"fra","m":{"a":{"o":[` + opinions(maxOpinions+1, "") + `]}}}`,
		`{"w":"fra","m":{"a":{"o":[` + opinions(6, strings.Repeat("x", maxReason)) + `]}}}`,
		`{"w":"fra","m":{"a":{"o":[{"r":"dns","s":"down"},{"r":"dns","s":"up"}]}}}`,
		`{"w":"fra","m":{"a":{"o":[{"a":"fe80::1%` + strings.Repeat("z", 1000) + `","r":"dns","s":"up"}]}}}`,
	} {
		if v, err := parseView([]byte(text)); err == nil {
			t.Errorf("%.80s: %+v", text, v)
		}
	}
	largest := fmt.Sprintf(`{"w":%q,"n":1,"s":%q,"m":{"a":{"n":1,"o":[%s]}}}`,
		strings.Repeat("~", maxName), strings.Repeat("x", maxReason), opinions(maxOpinions, strings.Repeat("x", maxReasons/maxOpinions)))
	largest += strings.Repeat(" ", maxViewBytes-len(largest))
	if v, err := parseView([]byte(largest)); err != nil || len(v.Mirrors["a"].List) != maxOpinions {
		t.Errorf("the largest view: %v", err)
	}
	if _, err := parseView([]byte(largest + " ")); err == nil {
		t.Error("a larger one is taken")
	}
	for _, share := range []string{"-0.1", "1.1"} {
		if _, err := parseView([]byte(`{"w":"fra","n":1,"m":{"a":{"n":1,"o":[{"r":"dns","s":"up","h":` + share + `}]}}}`)); err == nil {
			t.Errorf("a share of %s is taken", share)
		}
	}
	for name, list := range map[string]string{
		"a long reason":      opinions(1, strings.Repeat("x", maxReason+1)),
		"many long reasons":  opinions(maxReasons/maxReason+1, strings.Repeat("x", maxReason)),
		"reasons at a limit": opinions(maxReasons/maxReason, strings.Repeat("x", maxReason)),
	} {
		_, err := parseView([]byte(`{"w":"fra","n":1,"m":{"a":{"n":1,"o":[` + list + `]}}}`))
		if refused := err != nil; refused != (name != "reasons at a limit") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseView([]byte(`{"w":"fra","n":3,"c":2,"m":{"a":{"n":2,"o":[{"a":"2001:db8::1","r":"dns","s":"stale","e":true}]}},"new":1}`)); err != nil {
		t.Errorf("a view, with a key of a later version: %v", err)
	}
}

// opinions are so many of different endpoints, as JSON.
func opinions(count int, reason string) string {
	var list []string
	for i := range count {
		list = append(list, fmt.Sprintf(`{"a":"192.0.2.%d","r":"http","s":"up","h":1,"w":%q}`, i, reason))
	}
	return strings.Join(list, ",")
}

func FuzzParseView(f *testing.F) {
	f.Add([]byte(`{"w":"fra","n":3,"c":2,"m":{"a":{"n":2,"o":[{"a":"2001:db8::1","r":"dns","s":"stale","e":true}]}}}`))
	f.Add([]byte(`{"w":"fra","n":18446744073709551615,"s":"clock","m":{"":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseView(data)
		if err != nil {
			return
		}
		var b Book
		b.Merge(v, all)
		if b.Merge(v, all) {
			t.Error("the same view changes something the second time")
		}
		if len(v.Mirrors) == 0 {
			return
		}
		if parts, err := split(v); err == nil {
			var joined Book
			for _, part := range parts {
				text, _ := json.Marshal(part)
				again, err := parseView(text)
				if err != nil || len(text) > maxPacket {
					t.Fatalf("a part of a view, of %d bytes: %v", len(text), err)
				}
				joined.Merge(again, all)
			}
			if diff := cmp.Diff(b.mirrors, joined.mirrors, books); diff != "" && v.Complete == 0 {
				t.Errorf("-view +parts:\n%s", diff)
			}
		}
	})
}

// TestOpinions: what a watcher says of a mirror comes from its verdicts. Where it cannot tell, it abstains.
func TestOpinions(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr("192.0.2.1")
	long := strings.Repeat("x", maxReason+1)
	endpoint := func(state health.State, suspect, reason string, evidence bool, rate health.Rate) health.Endpoint {
		return health.Endpoint{Address: addr, Role: health.DNS, Suspect: suspect,
			Verdict: health.Verdict{State: state, Reason: reason, Evidence: evidence, Rate: rate}}
	}
	shaky := health.Rate{Failed: 0b101} // two failures
	for _, test := range []struct {
		endpoint health.Endpoint
		want     Opinion
	}{
		{endpoint(health.Up, "", "", false, health.Rate{}), Opinion{State: health.Up}},
		{endpoint(health.Up, "clock", "of a failure", true, health.Rate{}), Opinion{State: health.Up}},
		{endpoint(health.Up, "", "", false, shaky), Opinion{State: health.Up, Share: 0.25}},
		{endpoint(health.Down, "", "connect: timed out", false, shaky), Opinion{State: health.Down, Reason: "connect: timed out"}},
		{endpoint(health.Down, "", "tls: expired", true, health.Rate{}), Opinion{State: health.Down, Reason: "tls: expired", Evidence: true}},
		{endpoint(health.Stale, "", "freshness: old", false, health.Rate{}), Opinion{State: health.Stale, Reason: "freshness: old", Evidence: true}},
		{endpoint(health.Down, "IPv4", "connect: timed out", true, health.Rate{}), Opinion{Reason: "connect: timed out"}},
		{endpoint(health.Unknown, "", "no route", false, health.Rate{}), Opinion{Reason: "no route"}},
		{endpoint(health.Down, "", long, false, health.Rate{}), Opinion{State: health.Down, Reason: long[:maxReason]}},
	} {
		test.want.Address, test.want.Role = addr, health.DNS
		report := health.MirrorReport{Endpoints: []health.Endpoint{test.endpoint}}
		if got := opinionsOf(&report); len(got) != 1 || got[0] != test.want {
			t.Errorf("%+v:\n%+v, want\n%+v", test.endpoint, got, test.want)
		}
	}
	daemon := endpoint(health.Down, "", "connect: refused", false, health.Rate{})
	report := health.MirrorReport{Rsync: &daemon}
	if got := opinionsOf(&report); len(got) != 1 || got[0] != (Opinion{Role: health.Rsync, State: health.Down, Reason: "connect: refused"}) {
		t.Errorf("of an rsync daemon: %+v", got)
	}
	report.Endpoints = make([]health.Endpoint, maxOpinions+1)
	if got := opinionsOf(&report); len(got) != maxOpinions {
		t.Errorf("%d opinions of one mirror", len(got))
	}

	// What is too long is cut so that it can be read.
	report = health.MirrorReport{}
	for i := range maxOpinions {
		e := endpoint(health.Down, "", "x"+strings.Repeat("é", maxReason), false, health.Rate{})
		e.Address = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		report.Endpoints = append(report.Endpoints, e)
	}
	list := opinionsOf(&report)
	text, err := json.Marshal(View{Watcher: "fra", Count: 1, Mirrors: map[string]Opinions{"a": {1, list, 0}}})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := parseView(text); err != nil || !slices.Equal(v.Mirrors["a"].List, list) {
		t.Errorf("as others read it: %v, %v", v, err)
	}
	if first, last := list[0].Reason, list[maxOpinions-1].Reason; len(first) != maxReason-1 || last != "" {
		t.Errorf("reasons %q and %q", first, last)
	}
}
