package watch

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// newGroupOf is a group, not running, whose other members live. It has the mirrors of largeReport.
func newGroupOf(t *testing.T, now func() time.Time, names ...string) *Group {
	t.Helper()
	file := t.TempDir() + "/watch.key"
	if err := os.WriteFile(file, []byte(key("one")), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{Config: config.Watch{Name: "fra", KeyFile: file, Quorum: 0.5}, Version: "test", Log: zap.NewNop(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	g.Apply(largeReport(3))
	for _, name := range names {
		(*delegate)(g).NotifyJoin(&memberlist.Node{Name: name})
	}
	return g
}

// TestQueueIsBounded: what waits to be gossiped is bounded, whether a member floods or there is none to gossip to. Of
// its own, the latest stays.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now, "ams")
	start := uint64(time.Now().UnixNano())
	for i := range 5 * maxQueued {
		(*delegate)(g).NotifyMsg(fmt.Appendf(nil, `{"w":"ams","n":%d}`, start+uint64(i)))
	}
	if n := g.queue.NumQueued(); n > maxQueued/2 {
		t.Errorf("%d packets of another member wait", n)
	}
	for i := range 5 * maxQueued {
		g.Announce(ZoneVersion{Serial: uint32(i + 1)})
	}
	if n := g.queue.NumQueued(); n > maxQueued {
		t.Errorf("%d packets wait", n)
	}
	var latest uint32
	for texts := (*delegate)(g).GetBroadcasts(0, 1400); len(texts) > 0 && latest < 5*maxQueued; texts = (*delegate)(g).GetBroadcasts(0, 1400) {
		for _, text := range texts {
			var v View
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			latest = max(latest, v.Zone.Serial)
		}
	}
	if latest != 5*maxQueued {
		t.Errorf("the latest that it gossips is of version %d, want %d", latest, 5*maxQueued)
	}
}

// TestCountsAhead: no member silences another one for good by a count that cannot be surpassed. One whose clock is off
// by years is heard, and hears.
func TestCountsAhead(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{0, -365 * 24 * time.Hour, 365 * 24 * time.Hour, time.Until(time.Unix(0, 0))} {
		g := newGroupOf(t, func() time.Time { return time.Now().Add(off) }, "ams")
		now := uint64(time.Now().UnixNano())
		for text, taken := range map[string]bool{
			fmt.Sprintf(`{"w":"ams","n":%d}`, now):                                      true,
			fmt.Sprintf(`{"w":"ams","n":%d}`, now+uint64(365*24*time.Hour)):             true,
			fmt.Sprintf(`{"w":"ams","n":%d}`, uint64(math.MaxUint64)):                   false,
			fmt.Sprintf(`{"w":"ams","n":%d}`, uint64(math.MaxInt64)):                    false,
			fmt.Sprintf(`{"w":"ams","n":%d,"c":%d}`, now+3, uint64(math.MaxUint64)):     false,
			fmt.Sprintf(`{"w":"ams","n":%d,"t":{"drains":{"n":%d}}}`, now+3, now+9):     false,
			fmt.Sprintf(`{"w":"fra","n":%d}`, uint64(math.MaxUint64)):                   false,
			fmt.Sprintf(`{"w":"nyc","n":%d}`, now):                                      false, // which is no member
			fmt.Sprintf(`{"w":"ams","n":%d,"m":{"https://x/":{"n":%d}}}`, now+3, now+9): false,
		} {
			g.members["ams"].book = Book{}
			if got := g.take([]byte(text)); got != taken {
				t.Errorf("clock off by %v: %s is taken: %v", off, text, got)
			}
		}
		if own := g.own.count; own > now+uint64(2*365*24*time.Hour) {
			t.Errorf("clock off by %v: it counts on from %d", off, own)
		}
	}
}

// TestNoMoreThanWanted: of what members say, only what is of mirrors in the list is kept, and asks for a second look.
func TestNoMoreThanWanted(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := newGroupOf(t, func() time.Time { return now }, "ams")
	down := []Opinion{{Role: health.HTTP, State: health.Down}}
	count := uint64(now.UnixNano())
	for i := range 3000 {
		v := View{Watcher: "ams", Count: count + uint64(i), Mirrors: map[string]Opinions{
			fmt.Sprintf("https://mirror%d.example.net/project/", i): {Count: count + uint64(i), List: down}}}
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		g.take(text)
	}
	if n := len(g.members["ams"].book.mirrors); n != 3 {
		t.Errorf("what it says of %d mirrors is kept, want 3", n)
	}
	if claims := g.Claims(); len(claims) != 3 {
		t.Errorf("second looks at %q, want the 3 mirrors of the list", claims)
	}
	v := View{Watcher: "ams", Count: count + 9000, Mirrors: map[string]Opinions{
		"https://mirror1.example.net/project/": {Count: count + 9000, List: down}}}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if g.take(text); len(g.Claims()) > 0 {
		t.Error("a second look at once after the last")
	}
}

// TestReadingIsBounded: what is no view takes little more memory than its text, however much would be in it.
func TestReadingIsBounded(t *testing.T) {
	const most = 4 << 20
	list := func(one string) string { return strings.Repeat(one+",", most/(len(one)+1)) + one }
	for _, text := range []string{
		`{"w":"ams","n":5,"m":{"https://x/":{"n":5,"o":[` + list(`{}`) + `]}}}`,
		`{"w":"ams","n":5,"m":{"https://x/":{"n":5,"o":[` + list(`0`) + `]}}}`,
		`{"w":"ams","n":5,"m":{` + list(`"":{"n":5,"o":[`+strings.Repeat("null,", maxOpinions)+`null]}`) + `}}`,
		`{"w":"ams","n":5,"m":{` + list(`"":{"n":5,"o":[{},{}]}`) + `}}`,
		`{"w":"ams","n":5,"m":{` + list(`"":{}`) + `}}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseView([]byte(text))
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; err == nil || taken > 3*most {
			t.Errorf("%.60s takes %d KiB: %v", text, taken>>10, err)
		}
	}
}

// TestMembersAreBounded: no more members come than there is room for, and room is made once others have been gone for
// long.
func TestMembersAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var names []string
	for i := range maxMembers {
		names = append(names, fmt.Sprint("watcher", i))
	}
	g := newGroupOf(t, func() time.Time { return now }, names...)
	core, logs := observer.New(zap.WarnLevel)
	g.o.Log = zap.New(core)
	comes := func(name string) error {
		return (*delegate)(g).NotifyAlive(&memberlist.Node{Name: name, DCur: protocol})
	}
	if err := comes("one-more"); err == nil {
		t.Error("a member more than there is room for")
	}
	if lines := logs.TakeAll(); len(lines) != 1 || g.Status(now).Problem != "there are 64 other watchers already, and one-more was refused" {
		t.Errorf("it logs %v, and says %q", lines, g.Status(now).Problem)
	}
	if err := comes("watcher7"); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	for _, name := range names {
		(*delegate)(g).NotifyLeave(&memberlist.Node{Name: name})
	}
	if err := comes("one-more"); err == nil {
		t.Error("those that are gone are forgotten at once")
	}
	now = now.Add(memoryOfGone + time.Second)
	if err := comes("one-more"); err != nil {
		t.Errorf("all others have been gone for long: %v", err)
	}
}

// TestStateTellsCounts: members tell each other how far they have heard of each, also of those that are gone, which is
// news to these alone; the rest only to one that joins.
func TestStateTellsCounts(t *testing.T) {
	t.Parallel()
	g := newGroupOf(t, time.Now, "ams", "silent")
	text, err := json.Marshal(View{Watcher: "ams", Count: 7, Complete: 7, Mirrors: map[string]Opinions{
		"https://mirror1.example.net/project/": {Count: 7, List: []Opinion{{State: health.Up}}}}})
	if err != nil {
		t.Fatal(err)
	}
	g.take(text)
	(*delegate)(g).NotifyLeave(&memberlist.Node{Name: "ams"})
	for _, join := range []bool{false, true} {
		heir := newGroupOf(t, time.Now, "fra")
		heir.o.Config.Name, heir.own.count = "ams", 3
		(*delegate)(heir).MergeRemoteState((*delegate)(g).LocalState(join), join)
		if heir.own.count <= 7 {
			t.Errorf("joining %v: it goes on from %d, and has been at 7", join, heir.own.count)
		}
		third := newGroupOf(t, time.Now, "ams")
		(*delegate)(third).MergeRemoteState((*delegate)(g).LocalState(join), join)
		if b := third.members["ams"].book; (b.count == 7) != join || (len(b.mirrors) > 0) != join {
			t.Errorf("joining %v: it has heard up to %d, of %d mirrors", join, b.count, len(b.mirrors))
		}
	}
}

// TestOtherProtocol: a watcher that speaks another version of the protocol does not become a member, and each of the
// two says why.
func TestOtherProtocol(t *testing.T) {
	t.Parallel()
	port := testbed.FreePort(t, "127.0.24.11", "127.0.24.12")
	here, there := "127.0.24.11:"+port, "127.0.24.12:"+port
	ams := startPeer(t, "ams", here, []string{there}, key("one"))
	later := newGroupOf(t, time.Now)
	later.o.Config.Listen = there
	settings, err := later.settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	settings.DelegateProtocolVersion, settings.DelegateProtocolMin, settings.DelegateProtocolMax = protocol+1, protocol+1, protocol+1
	settings.Alive = nil
	list, err := memberlist.Create(settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Shutdown() })
	const reason = "it speaks another version of the protocol: run the same version of mirrorpool on both"
	testbed.Eventually(t, "the one says why", func() bool {
		return ams.Status(ams.now()).Problem == "cannot reach "+there+": "+reason
	})
	if _, err := list.Join([]string{here}); err == nil || joinError(err, here) != reason {
		t.Errorf("the other says %v", err)
	}
	testbed.Eventually(t, "the one says that it has refused the other", func() bool {
		return strings.Contains(ams.Status(ams.now()).Problem, "another version of the protocol, and was refused")
	})
	if members := ams.Status(ams.now()).Members; slices.ContainsFunc(members, func(m Member) bool { return m.Alive }) || len(list.Members()) != 1 {
		t.Errorf("members: %+v, %v", members, list.Members())
	}
	err = (*delegate)(ams.Group).NotifyAlive(&memberlist.Node{Name: "nyc", DCur: protocol + 1})
	if err == nil || err.Error() != "nyc speaks version 2 of the protocol, this watcher 1" {
		t.Errorf("gossip of a member: %v", err)
	}
}

// TestCountAtLimit: a member that forges the highest count that is accepted in another one's name does not silence it:
// the others take what it says next.
func TestCountAtLimit(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 1<<40-1)
	clock := func() time.Time { return now }
	g, other := newGroupOf(t, clock, "ams"), newGroupOf(t, clock)
	other.o.Config.Name = "ams"
	(*delegate)(other).NotifyJoin(&memberlist.Node{Name: "fra"})
	for range 3 { // it does so again and again
		forged := fmt.Appendf(nil, `{"w":"fra","n":%d}`, now.Add(maxAhead).UnixNano())
		g.take(forged)
		other.take(forged)
		now = now.Add(2 * time.Millisecond)
		beat, err := json.Marshal(g.own.header("fra"))
		if err != nil {
			t.Fatal(err)
		}
		if !other.take(beat) {
			t.Errorf("what it says is refused: it counts %v above the limit", time.Duration(g.own.count-uint64(now.Add(maxAhead).UnixNano())))
		}
	}
}
