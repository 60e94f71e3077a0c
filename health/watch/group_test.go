package watch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// A peer is a watcher in a test, at an address of its own.
type peer struct {
	*Group
	t       *testing.T
	address string
	keyFile string
	states  map[string]string // by url_prefix: a letter of opinionsFrom
	clock   time.Duration     // by how much it is ahead
	stop    func()
	fails   bool // when it stops, that is because something has failed
}

const interval = 2 * time.Second // of the peers' checks

func key(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// startPeers starts watchers that know of each other, at addresses of their own on loopback.
func startPeers(t *testing.T, names ...string) []*peer {
	t.Helper()
	var addresses []string
	port := testbed.FreePort(t, "127.0.24.1", "127.0.24.2", "127.0.24.3", "127.0.24.4")
	for i := range names {
		addresses = append(addresses, fmt.Sprintf("127.0.24.%d:%s", i+1, port))
	}
	var peers []*peer
	for i, name := range names {
		peers = append(peers, startPeer(t, name, addresses[i], addresses, key("one")))
	}
	return peers
}

func startPeer(t *testing.T, name, address string, join []string, keys string) *peer {
	t.Helper()
	p := &peer{t: t, address: address, keyFile: filepath.Join(t.TempDir(), "watch.key"), states: map[string]string{}}
	if name == "nyc" {
		p.clock = -time.Hour // nothing rests on whose clock is right
	}
	if err := os.WriteFile(p.keyFile, []byte(keys+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	p.Group, err = New(Options{
		Config: config.Watch{Name: name, Listen: address, Join: join, KeyFile: p.keyFile, Quorum: 0.5}, Version: "test",
		Log: zap.NewNop(), Now: p.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, func() bool { return !p.fails }) }()
	stopped := false
	p.stop = func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Cleanup(p.stop)
	return p
}

func (p *peer) now() time.Time { return time.Now().Add(p.clock) }

// judge is what the peer's mirrors come to, as letters in the order of the prefixes, and the reasons of those that are
// not up.
func (p *peer) judge() (states string, reasons []string) {
	r := &health.Report{At: p.now(), Mirrors: map[string]health.MirrorReport{}, Policy: health.Policy{Interval: interval}}
	names := []string{"https://a/", "https://b/", "https://c/"}
	for _, prefix := range names {
		o := opinionsFrom(p.states[prefix] + "u")[0]
		r.Mirrors[prefix] = health.MirrorReport{Endpoints: []health.Endpoint{{
			Address: netip.MustParseAddr("192.0.2.1"),
			Verdict: health.Verdict{State: o.State, Evidence: o.Evidence, Reason: "seen from " + p.o.Config.Name},
		}}}
	}
	p.Apply(r)
	for _, prefix := range names {
		e := r.Mirrors[prefix].Endpoints[0]
		states += e.State.String()[:1]
		if e.State != health.Up {
			reasons = append(reasons, e.Reason)
		}
	}
	return states, reasons
}

// become waits until the peers' joint verdicts are the given ones, each by itself; "" is any.
func become(t *testing.T, peers []*peer, within time.Duration, want ...string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		got, right := make([]string, len(peers)), true
		for i, p := range peers {
			got[i], _ = p.judge()
			right = right && (want[i] == "" || got[i] == want[i])
		}
		if right {
			return
		}
		if time.Now().After(deadline) {
			var problems []string
			for _, p := range peers {
				problems = append(problems, fmt.Sprintf("%+v", p.Status(p.now())))
			}
			t.Fatalf("after %v: %q, want %q\n%s", within, got, want, strings.Join(problems, "\n"))
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
}

// TestGroup has three watchers find each other, agree, lose two of them, and find each other again.
func TestGroup(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "ams", "fra", "nyc")
	ams, fra, nyc := peers[0], peers[1], peers[2]
	fra.states["https://a/"], nyc.states["https://a/"] = "d", "d" // ams reaches it, the others do not
	ams.states["https://b/"] = "d"                                // the others reach it
	const want = "seen from fra (down from fra, nyc; up from ams)"
	testbed.Eventually(t, "each says what all see", func() bool {
		agree := true
		for _, p := range peers { // each of which says what it sees as it judges
			states, reasons := p.judge()
			agree = agree && states == "duu" && slices.Equal(reasons, []string{want})
		}
		return agree
	})
	if got := fra.Claims(); len(got) == 0 || strings.Join(got, " ") != "https://a/ https://b/" {
		t.Errorf("to look at a second time: %q", got)
	}
	if got := fra.Claims(); len(got) > 0 {
		t.Errorf("and again: %q", got)
	}
	ams.states["https://c/"], fra.states["https://c/"] = "S", "-"
	become(t, peers, 5*time.Second, "duu", "duu", "duu") // evidence, but nyc sees none
	nyc.states["https://c/"] = "S"
	become(t, peers, 5*time.Second, "dus", "dus", "dus")

	served := ZoneVersion{Serial: 1_800_000_000, Content: 7}
	ams.Announce(served)
	for deadline := time.Now().Add(10 * time.Second); fra.ZoneVersions()["ams"] != served; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("versions of the zone: %v", fra.ZoneVersions())
		}
	}

	ams.stop()
	nyc.stop()
	become(t, peers[1:2], 20*time.Second, "duu") // by itself: of c it cannot tell
	for _, m := range fra.Status(fra.now()).Members {
		if m.Alive {
			t.Errorf("%s has stopped, and is there", m.Name)
		}
	}
	if versions := fra.ZoneVersions(); len(versions) != 1 || versions["ams"] != served {
		t.Errorf("versions of the zone: %v, want that of the one which has stopped, or may only be out of reach", versions)
	}
	fra.mu.Lock()
	fra.members["ams"].since = fra.now().Add(-memoryOfGone - time.Second)
	fra.mu.Unlock()
	if versions := fra.ZoneVersions(); len(versions) > 0 {
		t.Errorf("versions of the zone of one that has been gone for long: %v", versions)
	}
	again := startPeer(t, "ams", ams.address, []string{fra.address}, key("one"))
	third := startPeer(t, "nyc", nyc.address, []string{fra.address}, key("one"))
	third.states["https://b/"], again.states["https://b/"] = "d", "d"
	become(t, []*peer{fra, again, third}, 20*time.Second, "udu", "udu", "udu")
}

// TestTwoWatchers: of two that differ, each goes by itself.
func TestTwoWatchers(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "ams", "fra")
	peers[0].states["https://a/"] = "d"
	peers[1].states["https://b/"] = "D"
	become(t, peers, 5*time.Second, "duu", "udu")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		become(t, peers, 0, "duu", "udu")
		if s := peers[0].Status(time.Now()); len(s.Members) == 1 && s.Members[0].Counts {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("they do not find each other: %+v", s)
		}
	}
	become(t, peers, 0, "duu", "udu")
}

// TestKeys: without the key there is no member, and keys can be changed while the group works.
func TestKeys(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "ams", "fra", "nyc")
	stranger := startPeer(t, "xxx", strings.Replace(peers[0].address, "24.1:", "24.4:", 1), []string{peers[0].address}, key("other"))
	members := func(p *peer) (n int) {
		for _, m := range p.Status(p.now()).Members {
			n += count(m.Alive)
		}
		return n
	}
	wait := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v; %+v", what, peers[0].Status(peers[0].now()), stranger.Status(stranger.now()))
			}
		}
	}
	wait("all three are there", func() bool { return members(peers[0]) == 2 && members(peers[1]) == 2 && members(peers[2]) == 2 })
	wait("the stranger says why it is alone", func() bool {
		return stranger.Status(time.Now()).Problem == "cannot reach "+peers[0].address+": its keys are others: look at watch.key_file of both"
	})
	if members(stranger) > 0 {
		t.Error("a stranger has members")
	}
	change := func(keys ...string) func(*peer) {
		return func(p *peer) {
			list, err := parseKeys([]byte(strings.Join(keys, "\n")))
			if err == nil {
				err = p.SetKeys(list)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []func(*peer){change(key("one"), key("two")), change(key("two"), key("one")), change(key("two"))} {
		for _, p := range peers {
			step(p)
		}
		for _, p := range peers {
			p.states["https://a/"] = map[string]string{"": "d", "u": "d", "d": "u"}[p.states["https://a/"]]
		}
		want := peers[0].states["https://a/"] + "uu"
		become(t, peers, 10*time.Second, want, want, want)
	}
	change(key("two"), key("three"))(peers[0])
	change(key("three"), key("two"))(peers[1])
	change(key("three"))(peers[1])
	change(key("three"))(peers[0])
	wait("the one with the old key is lost", func() bool { return members(peers[0]) == 1 && members(peers[2]) == 0 })
}

// TestKeyFile: what others can read is no secret.
func TestKeyFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "watch.key")
	for mode, want := range map[os.FileMode]bool{0o600: true, 0o640: true, 0o644: false, 0o666: false} {
		if err := os.WriteFile(file, []byte(key("a")), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKeys(file); (err == nil) != want {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "no key",
		"# a comment\n\n":                "no key",
		"password\n":                     "line 1 is no key",
		key("a") + "\nc2hvcnQ=\n":        "line 2 is no key",
		strings.Repeat(key("a")+"\n", 9): "too many keys",
	} {
		if _, err := parseKeys([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "password") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	keys, err := parseKeys([]byte("# new\n" + key("b") + "\r\n\n  " + key("a") + "  \n"))
	first, _ := base64.StdEncoding.DecodeString(key("b"))
	if err != nil || len(keys) != 2 || !bytes.Equal(keys[0], first) {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// TestLiar has one of three watchers lie: it neither takes a mirror away nor brings one back.
func TestLiar(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "ams", "fra", "liar")
	honest, liar := peers[:2], peers[2]
	for _, p := range honest {
		p.states["https://a/"] = "d"
	}
	become(t, honest, 20*time.Second, "duu", "duu")
	for _, lie := range []string{"ddd", "DDD", "SSS", "uuu", "---", "DDu", "uDu", "SuD"} { // of some it says that they are corrupt
		for i, prefix := range []string{"https://a/", "https://b/", "https://c/"} {
			liar.states[prefix] = lie[i : i+1]
		}
		liar.judge()
		served := ZoneVersion{Serial: liar.own.zone.Serial + 1}
		liar.Announce(served) // what is heard after the lie
		for deadline := time.Now().Add(10 * time.Second); honest[0].ZoneVersions()["liar"] != served ||
			honest[1].ZoneVersions()["liar"] != served; time.Sleep(20 * time.Millisecond) {
			become(t, honest, 0, "duu", "duu")
			if time.Now().After(deadline) {
				t.Fatal("the liar is not heard")
			}
		}
		become(t, honest, 0, "duu", "duu")
	}
}

// TestSameName: where two watchers have one name, the others say so, for as long as they do.
func TestSameName(t *testing.T) {
	t.Parallel()
	port := testbed.FreePort(t, "127.0.24.21", "127.0.24.22", "127.0.24.23")
	var addresses []string
	for i := range 3 {
		addresses = append(addresses, fmt.Sprintf("127.0.24.2%d:%s", i+1, port))
	}
	ams := startPeer(t, "ams", addresses[0], addresses, key("one"))
	startPeer(t, "fra", addresses[1], addresses, key("one"))
	other := startPeer(t, "fra", addresses[2], addresses, key("one"))
	testbed.Eventually(t, "the third says that two have one name", func() bool {
		problem := ams.Status(ams.now()).Problem
		return strings.Contains(problem, "are both called fra: change watch.name of one") && strings.Contains(problem, addresses[1]) &&
			strings.Contains(problem, addresses[2])
	})
	other.stop()
	if problem := ams.Status(ams.now().Add(memoryOfConflict)).Problem; strings.Contains(problem, "called") {
		t.Errorf("a minute after: %s", problem)
	}
}

// TestDifferentIntervals: a watcher that checks seldom, and so says seldom that it is alive, counts all the time at one
// that checks often, and not for long once it is silent.
func TestDifferentIntervals(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	slow, quick := newGroupNamed(t, clock, "slow", "quick"), newGroupNamed(t, clock, "quick", "slow")
	slow.young = silence*time.Minute + 30*time.Second
	quick.young = silence*interval + time.Second
	whole, err := json.Marshal(slow.own.view("slow"))
	if err != nil {
		t.Fatal(err)
	}
	quick.take(whole)
	packets(slow)
	var every time.Duration
	for range 5 {
		every = slow.beat()
		for _, text := range packets(slow) {
			quick.take(text)
		}
		if now = now.Add(every); quick.counted(now)["slow"] == nil {
			t.Errorf("it does not count %v after a beat, when the next is due", every)
		}
	}
	if now = now.Add(silence * every); quick.counted(now)["slow"] != nil {
		t.Errorf("it still counts %v after its last beat", (silence+1)*every)
	}
	quick.take(fmt.Appendf(nil, `{"w":"slow","n":%d,"i":4294967295}`, slow.own.count+1))
	if now = now.Add(time.Minute); quick.counted(now)["slow"] != nil {
		t.Error("it counts as long as it likes")
	}
}
