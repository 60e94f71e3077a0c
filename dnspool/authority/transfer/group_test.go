package transfer

import (
	"math/rand/v2"
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
	publish := func(serial uint32, others map[string]Other) {
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
	none := map[string]Other{}
	start()
	publish(1, none)
	publish(2, map[string]Other{"ams": {2, 2}})
	publish(3, map[string]Other{"ams": {2, 2}})
	want("the first start", map[uint32]bool{1: false, 2: true})
	start()
	publish(4, none)
	publish(5, none)
	want("after a restart", map[uint32]bool{2: true, 3: false, 4: false})
	publish(6, map[string]Other{"ams": {4, 4}})
	want("what the other had is known", map[uint32]bool{3: false, 4: true, 5: false})
	start()
	s.began = s.began.Add(-rememberOthers - time.Second)
	publish(7, none)
	publish(8, none)
	want("the other has been gone for long", map[uint32]bool{3: false, 4: true, 5: false, 6: false, 7: true})
}
