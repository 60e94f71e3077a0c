package watch

import (
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

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
			(*delegate)(g).NotifyAlive(&memberlist.Node{Name: "nyc", DCur: protocol}) // which has it look
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

// TestStopIsNoLoss: a watcher that is stopped says so to the others.
func TestStopIsNoLoss(t *testing.T) {
	t.Parallel()
	peers := startPeers(t, "fra", "ams")
	find := func(what string, ok func(m Member) bool) {
		t.Helper()
		testbed.Eventually(t, what, func() bool {
			s := peers[0].Status(peers[0].now())
			return len(s.Members) == 1 && ok(s.Members[0])
		})
	}
	find("it is there", func(m Member) bool { return m.Alive && !m.Stopped })
	peers[1].stop()
	find("it was stopped", func(m Member) bool { return !m.Alive && m.Stopped })
	startPeer(t, "ams", peers[1].address, []string{peers[0].address}, key("one"))
	find("it is back", func(m Member) bool { return m.Alive && !m.Stopped })
}
