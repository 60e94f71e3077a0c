package dnssec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
)

// TestLeaderOf has a server find out whether it leads, by its NSID or else its host name.
func TestLeaderOf(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ leader, nsid, want string }{
		{"", "", ""},
		{"", "ns1", ""},
		{"ns1", "ns1", ""},
		{"NS1", "ns1", ""},
		{"ns2", "ns1", "ns2"},
		{host, "", ""},
		{host, host + "x", host},
		{host + "x", "", host + "x"},
	} {
		c := config.DNS{NSID: test.nsid, DNSSEC: &config.DNSSEC{Leader: test.leader}}
		if got, err := leaderOf(c); err != nil || got != test.want {
			t.Errorf("leader %q, nsid %q: %q, %v; want %q", test.leader, test.nsid, got, err, test.want)
		}
	}
}

// A keyServer is a server of the zone with its own folder of state.
type keyServer struct {
	config config.DNS
	dir    string
}

func newKeyServer(t *testing.T, name string) *keyServer {
	t.Helper()
	s := &keyServer{testConfig(), t.TempDir()}
	s.config.NSID, s.config.DNSSEC.Leader = name, "ns1"
	return s
}

// copyKeys copies the folder of keys to another server.
func (s *keyServer) copyKeys(t *testing.T, to *keyServer) {
	t.Helper()
	from, at := filepath.Join(s.dir, keysFolder), filepath.Join(to.dir, keysFolder)
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(at, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(at, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *keyServer) read(t *testing.T, now time.Time) *Keys {
	t.Helper()
	k, err := read(s.config, s.dir, now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestFollower takes a follower through a rollover. It does as the leader does, and nothing by itself.
func TestFollower(t *testing.T) {
	t.Parallel()
	leader, follower := newKeyServer(t, "ns1"), newKeyServer(t, "ns2")
	if _, err := read(follower.config, follower.dir, testNow); err == nil || !strings.Contains(err.Error(), "ns1 makes the keys") {
		t.Errorf("a follower without keys: %v", err)
	}
	ours := leader.read(t, testNow)
	leader.copyKeys(t, follower)
	theirs := follower.read(t, testNow)
	if len(theirs.All) != 1 || theirs.All[0].id != ours.All[0].id {
		t.Fatalf("the follower has %v, the leader %v", theirs.All, ours.All)
	}
	if _, err := theirs.Roll("", testNow, time.Hour); err == nil || !strings.Contains(err.Error(), "ns1 leads the rollovers") {
		t.Errorf("a rollover on a follower: %v", err)
	}
	if ours.Describe(testNow, nil, "").Leader != "" || theirs.Describe(testNow, nil, "").Leader != "ns1" {
		t.Error("the status does not say which server leads")
	}

	ours, err := ours.Roll("", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Save(); err != nil {
		t.Fatal(err)
	}
	leader.copyKeys(t, follower)
	theirs = follower.read(t, testNow)
	seen := &View{DS: []*dns.DS{ours.All[0].DS(), ours.All[1].DS()}, TTL: time.Hour, At: testNow.Add(24 * time.Hour)}
	if theirs.Advance(seen, time.Hour) != theirs {
		t.Error("a follower goes on with the rollover by itself")
	}
	if ours = ours.Advance(seen, time.Hour); ours.Save() != nil || len(ours.All) != 2 {
		t.Fatal("the leader does not go on")
	}
	leader.copyKeys(t, follower)
	theirs = follower.read(t, testNow)
	for hours := range 24 * 5 {
		at := testNow.Add(time.Duration(hours) * time.Hour)
		if a, b := phases(ours, at), phases(theirs, at); a != b {
			t.Fatalf("after %d hours the leader's keys are %q, the follower's %q", hours, a, b)
		}
	}
}

// phases is Phase, whatever the order of keys.
func phases(k *Keys, now time.Time) string {
	n := *k
	n.All = append([]*Key(nil), k.All...)
	if len(n.All) == 2 && n.All[0].Tag > n.All[1].Tag {
		n.All[0], n.All[1] = n.All[1], n.All[0]
	}
	return n.Phase(now)
}

// TestFollowerWritesNoKeys has a follower leave the folder of keys, which may be the leader's own, as it is.
func TestFollowerWritesNoKeys(t *testing.T) {
	t.Parallel()
	leader, follower := newKeyServer(t, "ns1"), newKeyServer(t, "ns2")
	leader.read(t, testNow)
	leader.copyKeys(t, follower)
	keys := follower.read(t, testNow)
	if err := os.RemoveAll(filepath.Join(follower.dir, keysFolder)); err != nil {
		t.Fatal(err)
	}
	if err := keys.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(follower.dir, keysFolder)); !os.IsNotExist(err) {
		t.Errorf("a follower has written keys: %v", err)
	}
}

// TestOtherLeader has keys differ if another server leads, so that a reload puts them in force.
func TestOtherLeader(t *testing.T) {
	t.Parallel()
	s := newKeyServer(t, "ns1")
	before := s.read(t, testNow)
	s.config.DNSSEC.Leader = "ns2"
	if after := s.read(t, testNow); after.Same(before) {
		t.Error("the keys are the same for another leader")
	}
}
