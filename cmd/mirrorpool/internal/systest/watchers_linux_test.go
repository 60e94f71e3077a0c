package systest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/dnspool/admin"
	"mirrorpool/health"
)

// watchers are three mirrorpools in a box that share what they see.
var watchers = []string{"ns1", "ns2", "ns3"}

// startWatchers starts them.
func (b *box) startWatchers() {
	b.t.Helper()
	key := make([]byte, 32)
	rand.Read(key)
	var join []string
	for _, name := range watchers {
		join = append(join, b.hosts[name].v4.String()+":7946")
	}
	for _, name := range watchers {
		file := filepath.Join(b.dir, name, "watch.key")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
			b.t.Fatal(err)
		}
		b.startPool(name, func(config map[string]any) {
			config["watch"] = map[string]any{"name": name, "listen": "0.0.0.0:7946", "join": join, "key_file": "watch.key"}
		})
	}
}

// group asks a watcher for its group; nil if it does not answer.
func (b *box) group(name string) *admin.WatchStatus {
	status, err := b.status(name)
	if err != nil {
		return nil
	}
	return status.Watch
}

// joined reports whether watchers decide together, each with as many others as are expected to count.
func (b *box) joined(others int, names ...string) bool {
	for _, name := range names {
		group, counting := b.group(name), 0
		if group == nil {
			return false
		}
		for _, w := range group.Watchers {
			if w.Counts {
				counting++
			}
		}
		if counting != others {
			return false
		}
	}
	return true
}

// stateOf is the state of a mirror's endpoint over IPv4 in role dns at a watcher.
func (b *box) stateOf(watcher, mirror string) health.State {
	status, err := b.status(watcher)
	if err != nil {
		return health.Unknown
	}
	for _, m := range status.Mirrors {
		if m.Name != mirror {
			continue
		}
		for _, e := range m.Endpoints {
			if e.Role == health.DNS && e.Address == b.hosts[mirror].v4 {
				return e.State
			}
		}
	}
	return health.Unknown
}

// states reports whether a mirror is in a state at all of some watchers.
func (b *box) states(mirror string, want health.State, names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return b.stateOf(name, mirror) != want })
}

// dropFrom is a rule against what comes from hosts.
func (b *box) dropFrom(names ...string) []string {
	var v4, v6 []string
	for _, name := range names {
		v4, v6 = append(v4, b.hosts[name].v4.String()), append(v6, b.hosts[name].v6.String())
	}
	return []string{
		"ip saddr { " + strings.Join(v4, ", ") + " } drop",
		"ip6 saddr { " + strings.Join(v6, ", ") + " } drop",
	}
}

// took waits until ok, and logs how long that took beside the aim. The aim is for servers that have a machine each.
// Here all of them share two cores with other tests: it may take twice as long, so that load alone fails no test.
func (b *box) took(what string, aim time.Duration, ok func() bool) {
	b.t.Helper()
	began := time.Now()
	b.await(b.t, what, 2*aim, ok)
	b.t.Logf("%5.1f s of %4.1f s until %s", time.Since(began).Seconds(), aim.Seconds(), what)
}

// query asks a watcher's DNS server until stop is called, which returns how many queries got no good answer, of all.
func (b *box) query(name string) (stop func() (lost, all int)) {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan struct{})
	lost, all := 0, 0
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			all++
			if answers, err := b.hosts[name].answers(ctx); err != nil && ctx.Err() == nil || err == nil && answers == 0 {
				lost++
			}
			<-tick.C
		}
	}()
	return func() (int, int) {
		cancel()
		<-done
		return lost, all
	}
}

// answers asks the host's own DNS server for the pool, and returns how many addresses it gives.
func (h *host) answers(ctx context.Context) (n int, err error) {
	err = h.inside(func() error {
		req := new(dns.Msg)
		req.SetQuestion("dl.example.org.", dns.TypeA)
		client := dns.Client{Timeout: time.Second}
		resp, _, err := client.ExchangeContext(ctx, req, h.v4.String()+":53")
		if err != nil {
			return err
		}
		if resp.Rcode != dns.RcodeSuccess {
			return fmt.Errorf("%s", dns.RcodeToString[resp.Rcode])
		}
		n = len(resp.Answer)
		return nil
	})
	return n, err
}

// TestWatchers has three mirrorpools watch the same mirrors, and breaks what is between them.
func TestWatchers(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.startWatchers()
	b.took("the three have found each other", 10*time.Second, func() bool { return b.joined(2, watchers...) })
	b.healthyAt(watchers...)
	const decided, healed = 3*boxInterval + time.Second, 5 * time.Second

	b.hosts["m5"].filter(b.dropFrom("ns1", "ns2")...)
	b.hosts["m6"].filter(b.dropFrom("ns1")...)
	b.took("a mirror that one of three reaches has left all three", decided, func() bool {
		return b.states("m5", health.Down, watchers...)
	})
	b.took("ns1 says that it does not reach the other", decided, func() bool { return strings.Contains(b.viewsOf("ns3", "m6"), "down from ns1; ") })
	if !b.states("m6", health.Up, watchers...) {
		t.Error("a mirror that two of three reach has left")
	}
	b.probeFrom(t)
	b.hosts["m5"].filter()
	b.hosts["m6"].filter()
	b.took("both are back", decided, func() bool {
		return b.states("m5", health.Up, watchers...) && b.states("m6", health.Up, watchers...)
	})
	// One that still finds a mirror down would make a tie with another as soon as the third cannot tell.
	b.took("no watcher finds them down any more", decided, func() bool {
		return !slices.ContainsFunc(watchers, func(w string) bool { return b.viewsOf(w, "m5")+b.viewsOf(w, "m6") != "" })
	})

	b.took("all have the same serial", healed, func() bool { return b.sameSerial(watchers...) })

	b.cutOff(t)
	b.split(t, healed)
	b.took("all have the same serial after the group was split", healed, func() bool { return b.sameSerial(watchers...) })
	b.lossy(t)
	b.killTwo(t)
}

// probeFrom asks one server what another one sees, while ns1 does not reach m6 and the others do.
func (b *box) probeFrom(t *testing.T) {
	t.Helper()
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	probe := func(args ...string) (code int, text string) {
		cmd := b.hosts["ns3"].command(t.Context(), append([]string{program, "probe"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--from", "ns1", "m6"}, exitFailure, "As the watcher ns1 sees them, heard "},
		{[]string{"--from", "ns1", "m6"}, exitFailure, "down"},
		{[]string{"--from", "ns2", "m6"}, exitOK, "up"},
		{[]string{"--from", "ns3", "m6"}, exitOK, "As the watcher ns3, the server that was asked, sees them."},
		{[]string{"--from", "ns2", "--json", "m6"}, exitOK, `"state": "up"`},
		{[]string{"--from", "ns4"}, exitFailure, `there is no watcher "ns4", but ns3, ns1, ns2`},
		{[]string{"--from", "ns1", "m77"}, exitUsage, `no mirror has the url_prefix, name or host "m77"`},
		{[]string{"--from", "ns1", "--config", "x"}, exitUsage, "it does not go with --config"},
		{[]string{"--from", ""}, exitUsage, "want a name after --from"},
	} {
		if code, text := probe(test.args...); code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("probe %q: exit code %d, want %d and %q in\n%s", test.args, code, test.code, test.want, text)
		}
	}
}

// viewsOf is what a watcher says that the watchers see of a mirror in role dns over IPv4.
func (b *box) viewsOf(watcher, mirror string) string {
	status, err := b.status(watcher)
	if err != nil {
		return ""
	}
	for _, m := range status.Mirrors {
		for _, e := range m.Endpoints {
			if m.Name == mirror && e.Role == health.DNS && e.Address == b.hosts[mirror].v4 {
				return health.ViewsText(e.Views)
			}
		}
	}
	return ""
}

// mirrorsUp reports whether all enabled mirrors are up at some watchers.
func (b *box) mirrorsUp(names ...string) bool {
	for i := 1; i <= boxMirrors; i++ {
		if mirror := fmt.Sprint("m", i); mirror != boxOff && !b.states(mirror, health.Up, names...) {
			return false
		}
	}
	return true
}

// sameSerial reports whether watchers serve one version of the zone.
func (b *box) sameSerial(names ...string) bool {
	serials := map[uint32]bool{}
	for _, name := range names {
		status, err := b.status(name)
		if err != nil {
			return false
		}
		serials[status.Serial] = true
	}
	return len(serials) == 1
}

// cutOff takes a watcher's way to everything but the other watchers.
func (b *box) cutOff(t *testing.T) {
	var mirrors []string
	for i := 1; i <= boxIPv6; i++ {
		mirrors = append(mirrors, fmt.Sprint("m", i))
	}
	rules := b.dropFrom(append(mirrors, "web", "resolver", "parent")...)
	for i := boxIPv6 + 1; i <= boxMirrors; i++ {
		rules = append(rules, "ip saddr "+b.hosts[fmt.Sprint("m", i)].v4.String()+" drop")
	}
	changed := 0
	look := func() {
		if !b.mirrorsUp("ns1", "ns2", "ns3") {
			changed++
		}
	}
	stops := map[string]func() (int, int){}
	for _, name := range watchers {
		stops[name] = b.query(name)
	}
	b.hosts["ns1"].filter(rules...)
	b.took("the others name the one that is cut off", 3*boxInterval+time.Second, func() bool {
		look()
		group := b.group("ns2")
		return group != nil && slices.ContainsFunc(group.Watchers, func(w admin.WatcherStatus) bool { return w.Name == "ns1" && w.Suspects != "" })
	})
	for range 20 {
		look()
		b.wait(100 * time.Millisecond)
	}
	if changed > 0 {
		t.Errorf("one watcher is cut off from all mirrors, and verdicts were others in %d looks", changed)
	}
	for name, stop := range stops {
		if lost, all := stop(); lost > 0 || all == 0 {
			t.Errorf("one watcher is cut off from all mirrors, and %d of %d queries to %s got no answer", lost, all, name)
		}
	}
	b.hosts["ns1"].filter()
	b.took("it is trusted again", 10*time.Second, func() bool {
		group := b.group("ns2")
		return group != nil && !slices.ContainsFunc(group.Watchers, func(w admin.WatcherStatus) bool { return w.Suspects != "" })
	})
}

// split parts one watcher from the others, and heals that.
func (b *box) split(t *testing.T, healed time.Duration) {
	b.hosts["ns3"].filter(b.dropFrom("ns1", "ns2")...)
	b.took("the one that is parted goes by itself", 10*time.Second, func() bool { return b.joined(0, "ns3") && b.joined(1, "ns1", "ns2") })
	if !b.mirrorsUp(watchers...) {
		t.Error("the group is split, and mirrors have left")
	}
	b.hosts["ns3"].filter()
	b.took("the group is whole again", healed, func() bool { return b.joined(2, watchers...) })
}

// lossy drops three of ten packets between the watchers.
func (b *box) lossy(t *testing.T) {
	for _, name := range watchers {
		b.hosts[name].filter("meta l4proto { tcp, udp } th dport 7946 numgen random mod 10 < 3 drop",
			"meta l4proto { tcp, udp } th sport 7946 numgen random mod 10 < 3 drop")
	}
	for _, state := range []health.State{health.Down, health.Up} {
		rules := b.dropFrom("ns1", "ns2")
		if state == health.Up {
			rules = nil
		}
		b.hosts["m7"].filter(rules...)
		b.took(fmt.Sprintf("a mirror is %v though packets are lost", state), 15*time.Second, func() bool {
			return b.states("m7", state, watchers...)
		})
	}
	for range 20 {
		for i := 1; i <= boxMirrors; i++ {
			mirror := fmt.Sprint("m", i)
			for _, name := range watchers {
				if got := b.stateOf(name, mirror); got == health.Down && mirror != boxOff {
					t.Errorf("%s is down at %s, because packets between watchers are lost", mirror, name)
				}
			}
		}
	}
	for _, name := range watchers {
		b.hosts[name].filter()
	}
}

// killTwo kills two of three without a goodbye.
func (b *box) killTwo(t *testing.T) {
	stop := b.query("ns3")
	b.hosts["ns1"].web.stop()
	b.hosts["ns2"].web.stop()
	b.took("the third goes by itself", 10*time.Second, func() bool { return b.joined(0, "ns3") })
	if lost, all := stop(); lost > 0 || all < 10 {
		t.Errorf("two of three are killed, and the third answers %d of %d queries wrongly", lost, all)
	}
}
