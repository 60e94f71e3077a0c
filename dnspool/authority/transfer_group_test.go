package authority

import (
	"strings"
	"testing"

	"mirrorpool/dnspool"
)

// TestIXFRBesideOthers: a server gives what has changed since a version only if no other server of the zone has other
// records under that serial. Where one has, it gives the whole zone, and so a secondary that asks now the one, now the
// other, never applies a change to records that it does not fit.
func TestIXFRBesideOthers(t *testing.T) {
	t.Parallel()
	c := transferConfig("127.0.0.0/8")
	c.Names = []string{"@"}
	s, addr, _ := startPrimary(t, c, nil, nil, "")
	publish := func(mirrors int, serial uint32, other dnspool.ZoneVersion) {
		snapshot := snapshotAt(t, mirrors, serial)
		snapshot.Content = uint64(mirrors)
		snapshot.Agreement = &dnspool.Agreement{Name: "fra", Versions: map[string]dnspool.ZoneVersion{"ams": other}}
		s.publish(snapshot)
	}
	kind := func(since uint32) string {
		messages, err := fetchZone(t, addr, ixfrRequest(since), nil)
		if err != nil || len(messages) != 1 {
			t.Fatalf("since %d: %d messages, %v", since, len(messages), err)
		}
		switch strings.Count(strings.Join(lines(messages[0]), "\n"), " SOA ") {
		case 1:
			return "soa"
		case 2:
			return "all"
		}
		return "changes"
	}
	want := func(when string, kinds map[uint32]string) {
		t.Helper()
		for since, want := range kinds {
			if got := kind(since); got != want {
				t.Errorf("%s: %s since %d, want %s", when, got, since, want)
			}
		}
	}
	publish(20, 7, dnspool.ZoneVersion{Serial: 7, Content: 20})
	publish(19, 8, dnspool.ZoneVersion{Serial: 7, Content: 20})
	want("the other is behind", map[uint32]string{6: "all", 7: "changes", 8: "soa"})
	publish(21, 9, dnspool.ZoneVersion{Serial: 8, Content: 18})
	want("both have made a version 8", map[uint32]string{7: "changes", 8: "all", 9: "soa"})
	publish(20, 10, dnspool.ZoneVersion{Serial: 10, Content: 20})
	want("it is not known what the other had as version 9", map[uint32]string{7: "changes", 8: "all", 9: "all", 10: "soa"})
	publish(21, 11, dnspool.ZoneVersion{Serial: 10, Content: 20})
	want("they agree again", map[uint32]string{9: "all", 10: "changes", 11: "soa"})
}

// TestIXFRBesideOthersSigned: signatures are each server's own, and so are the changes of them.
func TestIXFRBesideOthersSigned(t *testing.T) {
	t.Parallel()
	s := newSignedServer(t)
	for _, agreement := range []*dnspool.Agreement{nil, {Name: "fra"}} {
		snapshot := snapshotAt(t, 6, 1)
		snapshot.Content, snapshot.Agreement = 6, agreement
		s.sign(true, snapshot)
		version := s.zone.Load().toTransfer()
		if version.Content != 0 || (version.Others == nil) != (agreement == nil) {
			t.Errorf("with the agreement %v: content %x, others %v", agreement, version.Content, version.Others)
		}
	}
}
