package listen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// closed tells the names of the connections that are closed.
type closed []string

// A named connection tells closed when it is closed.
type named struct {
	name string
	to   *closed
}

func (n named) Close() error {
	*n.to = append(*n.to, n.name)
	return nil
}

func TestCrowd(t *testing.T) {
	t.Parallel()
	networks := map[byte]netip.Prefix{
		'a': netip.MustParsePrefix("192.0.2.0/24"), 'b': netip.MustParsePrefix("2001:db8::/56"),
		'c': netip.MustParsePrefix("198.51.100.0/24"), 'p': {},
	}
	tests := map[string]struct {
		does   string // one a second: "a1" enters, of network a; "-a1" leaves; "!a1" has been answered
		closed []string
		size   ConnStats
	}{
		"room for all":                              {"a1 b1 a2 b2", nil, ConnStats{4, 2, 0}},
		"a network has too many":                    {"b1 a1 a2 a3 a4 a5", []string{"a1", "a2"}, ConnStats{4, 2, 2}},
		"one that was answered has waited less":     {"a1 a2 a3 !a1 a4", []string{"a2"}, ConnStats{3, 1, 1}},
		"too many in all: the largest makes room":   {"b1 a1 a2 a3 c1 b2", []string{"a1"}, ConnStats{5, 3, 1}},
		"and then who has waited longest":           {"b1 a1 a2 b2 c1 !b1 c2 c3", []string{"a1", "b2"}, ConnStats{5, 3, 2}},
		"even if none has more than one":            {"a1 b1 c1 p1 p2 p3", []string{"a1"}, ConnStats{5, 2, 1}},
		"a proxy has as many as there may be":       {"p1 p2 p3 p4 p5", nil, ConnStats{5, 0, 0}},
		"proxies make room last":                    {"p1 p2 p3 p4 a1 a2 a3", []string{"a1", "a2"}, ConnStats{5, 1, 2}},
		"but for each other":                        {"p1 p2 p3 p4 p5 p6 a1", []string{"p1", "p2"}, ConnStats{5, 1, 2}},
		"one that leaves makes room":                {"a1 a2 a3 -a2 a4", nil, ConnStats{3, 1, 0}},
		"and counts once":                           {"a1 a2 a3 -a2 -a2 a4 a5", []string{"a1"}, ConnStats{3, 1, 1}},
		"one that made room may leave":              {"a1 a2 a3 a4 -a1 a5", []string{"a1", "a2"}, ConnStats{3, 1, 2}},
		"nothing is kept of a network that is gone": {"a1 b1 -a1 -b1 p1 -p1", nil, ConnStats{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limiter, got := NewConnLimiter(5, 3), closed(nil)
			members := map[string]*Slot{}
			for second, step := range strings.Fields(test.does) {
				now := time.Unix(1_800_000_000+int64(second), 0)
				switch who := step[1:]; step[0] {
				case '-':
					members[who].Release()
				case '!':
					members[who].Touch(now)
				default:
					members[step] = limiter.Admit(networks[step[0]], named{step, &got}, now)
				}
			}
			if !slices.Equal(got, test.closed) || limiter.Stats() != test.size {
				t.Errorf("closed are %v and it is %+v, want %v and %+v", got, limiter.Stats(), test.closed, test.size)
			}
		})
	}
}

// TestManyConnections has one client among those who hold connections open, which come from 10 networks and are more
// than are looked at: it has all the time that it needs.
func TestManyConnections(t *testing.T) {
	t.Parallel()
	const most = 1000
	limiter, now := NewConnLimiter(most, 500), time.Unix(1_800_000_000, 0)
	var guestClosed, othersClosed closed
	enter := func(i int) {
		now = now.Add(time.Microsecond)
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i % 10), 0}), 24)
		limiter.Admit(network, named{fmt.Sprint(i), &othersClosed}, now)
	}
	for i := range most {
		enter(i)
	}
	limiter.Admit(netip.MustParsePrefix("192.0.2.0/24"), named{"guest", &guestClosed}, now)
	for i := range 100 * most {
		enter(i)
	}
	if len(guestClosed) > 0 {
		t.Error("the guest is closed")
	}
	if size := limiter.Stats(); size != (ConnStats{most, 11, 100*most + 1}) || len(othersClosed) != 100*most+1 {
		t.Errorf("it is %+v, and %d are closed", size, len(othersClosed))
	}
}

// TestSharedNetwork has clients that share a network among others that hold a connection from each of very many
// networks: who asks now and then keeps its connection.
func TestSharedNetwork(t *testing.T) {
	t.Parallel()
	const most, clients = 1000, 40
	limiter, now := NewConnLimiter(most, 512), time.Unix(1_800_000_000, 0)
	var clientsClosed, othersClosed closed
	var shared []*Slot
	for i := range clients {
		shared = append(shared, limiter.Admit(netip.MustParsePrefix("192.0.2.0/24"), named{fmt.Sprint(i), &clientsClosed}, now))
	}
	for i := range 20 * most {
		now = now.Add(time.Millisecond)
		limiter.Admit(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24), named{"other", &othersClosed}, now)
		shared[i%clients].Touch(now)
	}
	if len(clientsClosed) > 0 || len(othersClosed) == 0 {
		t.Errorf("%d of the clients are closed, and %d others", len(clientsClosed), len(othersClosed))
	}
}

// TestProxiesStay: connections of no network make room last, even if they have waited longest and networks have little.
func TestProxiesStay(t *testing.T) {
	t.Parallel()
	limiter, now := NewConnLimiter(20, 16), time.Unix(1_800_000_000, 0)
	var proxiesClosed, othersClosed closed
	for range 10 {
		limiter.Admit(netip.Prefix{}, named{"proxy", &proxiesClosed}, now)
	}
	for i := range 30 {
		now = now.Add(time.Second)
		limiter.Admit(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24), named{"other", &othersClosed}, now)
	}
	if len(proxiesClosed) != 0 || len(othersClosed) != 20 {
		t.Errorf("%d proxies and %d others have made room, want 0 and 20", len(proxiesClosed), len(othersClosed))
	}
}

// TestLooks: of very many it does not look at all, which would take too long in a flood. So it seldom finds the one
// that has waited longest.
func TestLooks(t *testing.T) {
	t.Parallel()
	const most, tries = 100 * sampleSize, 6
	found := 0
	for range tries {
		limiter, now := NewConnLimiter(most, most), time.Unix(1_800_000_000, 0)
		var oldest, others closed
		limiter.Admit(netip.Prefix{}, named{"oldest", &oldest}, now)
		for i := range most {
			limiter.Admit(netip.Prefix{}, named{"another", &others}, now.Add(time.Duration(1+i)))
		}
		if len(oldest)+len(others) != 1 {
			t.Fatalf("%d have made room, want 1", len(oldest)+len(others))
		}
		found += len(oldest)
	}
	if found == tries {
		t.Errorf("it is always found, among %d", most)
	}
}

func BenchmarkCrowd(b *testing.B) {
	const most = 4096
	limiter, now := NewConnLimiter(most, most), time.Unix(1_800_000_000, 0)
	var all closed
	for i := 0; b.Loop(); i++ {
		all = all[:0]
		limiter.Admit(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24), named{"x", &all}, now.Add(time.Duration(i)))
	}
}
