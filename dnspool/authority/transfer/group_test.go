package transfer

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/tsig"
)

// TestRestartInGroup: a version that is made after a start, before the other servers are heard of, is none from which a
// delta leads unless they turn out to have it. They are those of the journal; without a journal, any.
func TestRestartInGroup(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 6))
	dir := t.TempDir()
	c := config.DNS{Zone: "dl.example.org."}
	c.AllowTransfer = []string{"127.0.0.0/8"}
	var s *Server
	start := func() {
		var err error
		if s, err = NewServer(c, new(tsig.Ring), dir, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(serial uint32, others map[string]ZoneVersion) {
		v := randomVersion(r, serial)
		records := Merge(largeVersion.records, v.records)
		s.Publish(Version{SOA: v.soa, Records: func() Records { return records }, Content: uint64(serial), Others: others})
		if err := s.save(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when string, since map[uint32]bool) {
		t.Helper()
		for serial, want := range since {
			if _, ok := s.history.Load().since(serial); ok != want {
				t.Errorf("%s: changes since %d: %v", when, serial, ok)
			}
		}
	}
	none := map[string]ZoneVersion{}
	start()
	publish(1, none)
	publish(2, map[string]ZoneVersion{"ams": {2, 2}})
	publish(3, map[string]ZoneVersion{"ams": {2, 2}})
	want("the first start", map[uint32]bool{1: false, 2: true})
	start()
	publish(4, none)
	publish(5, none)
	want("after a restart", map[uint32]bool{2: true, 3: false, 4: false})
	publish(6, map[string]ZoneVersion{"ams": {4, 4}})
	want("what the other had is known", map[uint32]bool{3: false, 4: true, 5: false})
	start()
	s.began = s.began.Add(-rememberOthers - time.Second)
	publish(7, none)
	publish(8, none)
	want("the other has been gone for long", map[uint32]bool{3: false, 4: true, 5: false, 6: false, 7: true})
}

// TestStopInGroup: the version that a server stops with is known at the next start, once, and its history goes on.
// After a crash, or once another copy has gone ahead, only the serial is known.
func TestStopInGroup(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	dir := t.TempDir()
	c := config.DNS{Zone: "dl.example.org."}
	c.AllowTransfer = []string{"127.0.0.0/8"}
	start := func() *Server {
		s, err := NewServer(c, new(tsig.Ring), dir, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	publish := func(s *Server, v version) {
		records := Merge(largeVersion.records, v.records)
		ams := map[string]ZoneVersion{"ams": {v.soa.Serial, v.content}}
		s.Publish(Version{SOA: v.soa, Records: func() Records { return records }, Content: v.content, Others: ams})
		if err := s.save(); err != nil {
			t.Fatal(err)
		}
	}
	take := func(when string, want ZoneVersion) {
		t.Helper()
		if got := TakeVersion(dir, zap.NewNop()); got != want {
			t.Errorf("%s: version %v, want %v", when, got, want)
		}
	}
	take("before the first start", ZoneVersion{})
	first, second := randomVersion(r, 1), randomVersion(r, 2)
	first.content, second.content = 11, 22
	s := start()
	publish(s, first)
	publish(s, second)
	take("after a crash", ZoneVersion{Serial: 2 + maxUnsaved})
	s.SaveVersion()
	take("after a stop", ZoneVersion{2, 22})
	take("after a stop and a crash", ZoneVersion{Serial: 2 + maxUnsaved})

	s = start()
	publish(s, second)
	if _, ok := s.history.Load().since(1); !ok {
		t.Error("the changes that led to the version before the start are lost")
	}
	changed := randomVersion(r, 2)
	changed.content = 22
	publish(start(), second)
	s = start()
	publish(s, changed)
	if _, ok := s.history.Load().since(1); ok {
		t.Error("changes lead to records that are not those of the version any more")
	}

	third := randomVersion(r, 3)
	third.content = 33
	publish(start(), third)
	s.SaveVersion()
	take("another copy has gone ahead", ZoneVersion{Serial: 3 + maxUnsaved})
	unshared := randomVersion(r, 4) // as one that is signed
	s = start()
	publish(s, unshared)
	s.SaveVersion()
	take("after a stop, without a content", ZoneVersion{Serial: 4})
	if err := os.Mkdir(filepath.Join(dir, versionName), 0o700); err != nil {
		t.Fatal(err)
	}
	take("what is there cannot be read", ZoneVersion{Serial: 4 + maxUnsaved})
	if err := saveState(dir, serialName, []byte("4294967196")); err != nil {
		t.Fatal(err)
	}
	take("at the end of all serials", ZoneVersion{Serial: 1})
}
