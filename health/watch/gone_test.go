package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/testdata/testbed"
)

// TestLostIsNamed: a watcher that was lost is named until it is back, however long that takes, or until others need its
// place; what it said is forgotten after an hour. One that was stopped is named for an hour.
func TestLostIsNamed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	clock := func() time.Time { return now }
	for _, stopped := range []bool{false, true} {
		g, ams := newGroupNamed(t, clock, "fra", "ams"), newGroupNamed(t, clock, "ams", "fra")
		ams.Announce(ZoneVersion{Serial: 7})
		for _, text := range packets(ams) {
			g.take(text)
		}
		g.members["ams"].stopped = stopped
		(*delegate)(g).NotifyLeave(&memberlist.Node{Name: "ams"})
		for _, after := range []time.Duration{0, memoryOfGone, 365 * 24 * time.Hour} {
			now = now.Add(after)
			g.requests(now) // which has it look, as each second
			named := len(g.Status(now).Members) == 1
			if want := !stopped || after <= memoryOfGone; named != want {
				t.Errorf("stopped %v, %v later: named %v", stopped, after, named)
			}
			if named && g.Status(now).Members[0].Stopped != stopped {
				t.Errorf("stopped %v: %+v", stopped, g.Status(now).Members[0])
			}
			if remembered := named && g.members["ams"].book.zone.Serial != 0; remembered != (after <= memoryOfGone) {
				t.Errorf("stopped %v, %v later: what it said is remembered: %v", stopped, after, remembered)
			}
		}
		(*delegate)(g).NotifyJoin(&memberlist.Node{Name: "ams"})
		if m := g.Status(now).Members[0]; !m.Alive || m.Stopped {
			t.Errorf("it is back: %+v", m)
		}
	}
}

// TestGoodbye: what says that a watcher stops is heard, whatever came before it with the same count.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"bw", "wb", "wbw"} {
		g := newGroupNamed(t, time.Now, "fra", "ams")
		for _, c := range order {
			g.take([]byte(map[rune]string{'b': `{"w":"ams","n":7,"x":true}`, 'w': `{"w":"ams","n":7,"c":7}`}[c]))
		}
		if !g.members["ams"].stopped {
			t.Errorf("%s: it is not known to have stopped", order)
		}
		if g.take([]byte(`{"w":"ams","n":8}`)); g.members["ams"].stopped {
			t.Errorf("%s: it has said more, and is taken for stopped", order)
		}
	}
}

// finds waits until what a watcher knows of the only other one is ok.
func (p *peer) finds(t *testing.T, what string, ok func(m Member) bool) {
	t.Helper()
	testbed.Eventually(t, what, func() bool {
		s := p.Status(p.now())
		return len(s.Members) == 1 && ok(s.Members[0])
	})
}

// TestStopIsNoLoss: a watcher that is stopped says so to the others.
func TestStopIsNoLoss(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "fra", "ams")
	peers[0].finds(t, "it is there", func(m Member) bool { return m.Alive && !m.Stopped && peers[1].size() == 2 })
	peers[1].stop()
	peers[0].finds(t, "it was stopped", func(m Member) bool { return !m.Alive && m.Stopped })
	startPeer(t, "ams", peers[1].address, []string{peers[0].address}, key("one"))
	peers[0].finds(t, "it is back", func(m Member) bool { return m.Alive && !m.Stopped })
}

// TestFailureIsLoss: a watcher that ends because something has failed is lost.
func TestFailureIsLoss(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "fra", "ams")
	peers[0].finds(t, "it is there", func(m Member) bool { return m.Alive && peers[1].size() == 2 })
	peers[1].fails = true
	peers[1].stop()
	peers[0].finds(t, "it is lost", func(m Member) bool { return !m.Alive })
	if peers[0].Status(peers[0].now()).Members[0].Stopped {
		t.Error("it is taken for stopped")
	}
}

// TestNothingAfterGoodbye: nothing that other parts of the program have to say takes a goodbye back.
func TestNothingAfterGoodbye(t *testing.T) {
	t.Parallel()
	g, ams := newGroupNamed(t, time.Now, "fra", "ams"), newGroupNamed(t, time.Now, "ams", "fra")
	ams.o.Config.Listen = "127.0.24.63:" + testbed.FreePort(t, "127.0.24.63")
	list, err := ams.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Shutdown() })
	ams.sayGoodbye(t.Context(), list)
	ams.Announce(ZoneVersion{Serial: 7})
	for _, text := range packets(ams) {
		g.take(text)
		t.Errorf("it says %s", text)
	}
	(*delegate)(g).MergeRemoteState((*delegate)(ams).LocalState(false), false)
	if !g.members["ams"].stopped {
		t.Error("an exchange takes it back")
	}
}

// TestJoinErrors: what keeps a watcher from joining is said in words that tell what to do.
func TestJoinErrors(t *testing.T) {
	t.Parallel()
	port := testbed.FreePort(t, "127.0.24.21", "127.0.24.22", "127.0.24.23")
	for _, test := range []struct{ at, peer, want string }{
		{"127.0.24.21:" + port, "127.0.24.23:" + port, "nothing listens there: is mirrorpool running, with watch.listen on that port?"},
		{"127.0.24.22:" + port, "no-such-host.invalid:7946", "its name has no address: look at watch.join"},
	} {
		p := startPeer(t, "fra", test.at, []string{test.peer}, key("one"))
		testbed.Eventually(t, test.want, func() bool { return p.Status(p.now()).Problem == "cannot reach "+test.peer+": "+test.want })
	}
	for text, want := range map[string]string{
		"failed to join 192.0.2.1:7946: dial tcp 192.0.2.1:7946: i/o timeout":      "no answer: let the port through between the two, over UDP and TCP",
		"failed to join 192.0.2.1:7946: dial tcp 192.0.2.1:7946: no route to host": "dial tcp 192.0.2.1:7946: no route to host",
		"failed to join 192.0.2.1:7946: read tcp 192.0.2.1:7946: connection reset": hangsUp,
	} {
		if got := joinError(errors.New(text), "192.0.2.1:7946"); got != want {
			t.Errorf("%s:\n%s, want\n%s", text, got, want)
		}
	}
}

// TestNamesAreLookedUpHere: memberlist does not look up names by itself, which goes on for long where no resolver
// answers, and keeps the watcher from stopping.
func TestNamesAreLookedUpHere(t *testing.T) {
	t.Parallel()
	resolver, err := net.Listen("tcp", "127.0.24.61:0")
	if err != nil {
		t.Fatal(err)
	}
	defer resolver.Close()
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "nameserver %v\n", resolver.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGroupOf(t, time.Now)
	g.o.Config.Listen = "127.0.24.61:" + testbed.FreePort(t, "127.0.24.61")
	g.o.Config.Join = []string{"no-such-host.invalid:7946"}
	settings, err := g.settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	settings.DNSConfigPath = file
	list, err := memberlist.Create(settings)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Shutdown()
	asked := make(chan struct{})
	go func() {
		if conn, err := resolver.Accept(); err == nil {
			conn.Close()
			close(asked)
		}
	}()
	g.join(t.Context(), list)
	select {
	case <-asked:
		t.Error("memberlist has asked the resolver")
	case <-time.After(100 * time.Millisecond):
	}
}

// TestOtherQuorum: watchers that go by another quorum are named.
func TestOtherQuorum(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	g := newGroupNamed(t, time.Now, "fra")
	g.o.Log = zap.New(core)
	for _, step := range []struct {
		meta   string
		other  float64
		logged int
	}{
		{`{"version":"1"}`, 0, 0},
		{`{"version":"2","quorum":0.5}`, 0, 0},
		{`{"version":"2","quorum":0.7}`, 0.7, 1},
		{`{"version":"3","quorum":0.7}`, 0.7, 0},
		{`{"version":"3","quorum":0.5}`, 0, 0},
	} {
		(*delegate)(g).NotifyUpdate(&memberlist.Node{Name: "ams", Meta: []byte(step.meta)})
		if other, lines := g.Status(time.Now()).Members[0].OtherQuorum, logs.TakeAll(); other != step.other || len(lines) != step.logged {
			t.Errorf("%s: other quorum %v, logged %v", step.meta, other, lines)
		}
	}
	var said meta
	if err := json.Unmarshal(g.metadata(), &said); err != nil || said.Quorum != 0.5 {
		t.Errorf("it says %s of itself: %v", g.metadata(), err)
	}
}
