package health

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mirrorpool/config/statefile"
)

// ran returns a bed that has run for a while: a up, b down, c looked up.
func ran(t *testing.T) *bed {
	b := newBed(t, nil)
	b.knows("c.example.net", "198.51.100.3")
	for _, addr := range []string{"192.0.2.1", "198.51.100.3"} {
		b.set(addr, carries(ago(10*time.Hour)))
	}
	b.set("192.0.2.2", fails("connect: connection refused"))
	p := pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2 c.example.net")
	p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
	b.SetPool(p)
	stop := b.start()
	<-b.Swept()
	wait(time.Minute)
	stop()
	return b
}

// saved returns what b saves.
func (b *bed) saved() *bytes.Buffer {
	b.t.Helper()
	var buf bytes.Buffer
	if err := b.Save(&buf); err != nil {
		b.t.Fatal(err)
	}
	return &buf
}

// heir runs b until its first sweep has ended, and returns a bed that begins with what b saves then.
func (b *bed) heir() *bed {
	b.t.Helper()
	stop := b.start()
	<-b.Swept()
	stop()
	heir := newBed(b.t, nil)
	if err := heir.Restore(b.saved()); err != nil {
		b.t.Fatal(err)
	}
	return heir
}

// TestSavedChanges: changes of state are in the file as a list of all places of the ring, and not at all if there were
// none. Earlier versions read and wrote the same.
func TestSavedChanges(t *testing.T) {
	t.Parallel()
	const none = `"0001-01-01T00:00:00Z"`
	body := `{"mirrors":{"http://a.example.net/":{"verdicts":[` +
		`{"address":"192.0.2.1","role":"http","state":"up","changes":["2026-03-01T12:00:00Z",` + none + `,` + none + `,` +
		none + `,` + none + `,` + none + `],"change":1},{"address":"192.0.2.2","role":"http","state":"up"}]}}}`
	state, err := readState(strings.NewReader(withHeader(body)))
	if err != nil {
		t.Fatal(err)
	}
	verdicts := state.Mirrors["http://a.example.net/"].Verdicts
	if c := verdicts[0].Changes; c == nil || *c != [flapChanges]time.Time{epoch} || verdicts[0].Change != 1 || verdicts[1].Changes != nil {
		t.Errorf("read %v and %v", c, verdicts[1].Changes)
	}
	var saved bytes.Buffer
	if err := writeSealed(&saved, stateFormat, state); err != nil {
		t.Fatal(err)
	}
	changes := body[strings.Index(body, `"changes"`) : strings.Index(body, `]`)+1]
	if text := saved.String(); strings.Count(text, `"changes"`) != 1 || !strings.Contains(text, changes) {
		t.Errorf("saved %s", text)
	}
}

// TestReportsShareNoEndpoint: to add to the endpoints of one mirror changes those of no other.
func TestReportsShareNoEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ran(t).Report()
		before := maps.Clone(r.Mirrors)
		for prefix, m := range before {
			m.Endpoints = slices.Clone(m.Endpoints)
			before[prefix] = m
		}
		for _, m := range r.Mirrors {
			_ = append(m.Endpoints, Endpoint{})
		}
		if diff := cmp.Diff(before, r.Mirrors, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
}

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := ran(t)
		state := old.saved()
		wait(2 * time.Minute)
		b := newBed(t, nil)
		if err := b.Restore(state); err != nil {
			t.Fatal(err)
		}
		p := pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2 c.example.net")
		p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
		b.SetPool(p)
		// Before anything is looked up or probed, all is as it was.
		before, after := old.Report(), b.Report()
		ignore := cmpopts.IgnoreFields(Verdict{}, "Restored")
		for prefix := range before.Mirrors {
			was, is := before.Mirrors[prefix].Endpoints, after.Mirrors[prefix].Endpoints
			for i := range is {
				if !is[i].Restored {
					t.Errorf("%s: not marked as restored", prefix)
				}
			}
			// The old report is of now too, and its verdicts are past their time.
			for i := range was {
				was[i].Verdict = old.mirrors[prefix].check(endpointKey{was[i].Address, was[i].Role}).verdict
			}
			if diff := cmp.Diff(was, is, ignore, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("%s (-saved +restored):\n%s", prefix, diff)
			}
		}
		if e := after.Mirrors["http://a.example.net/tails/"].Rsync; e == nil || e.State != Up || !e.Restored {
			t.Errorf("rsync: %+v", e)
		}
		if !b.Warm() || after.Reference.Trace.IsZero() || !after.Reference.Since.Equal(before.Reference.Since) {
			t.Errorf("warm: %v, reference %+v, want %+v", b.Warm(), after.Reference, before.Reference)
		}
		defer b.start()()
		<-b.Swept()
		if v := b.verdictAt("192.0.2.2", HTTP); v.State != Down || len(b.starts) == 0 {
			t.Errorf("down before, and one pass: %v, want down still", v.State)
		}
		if v := b.verdictAt("192.0.2.1", HTTP); v.Restored {
			t.Error("restored, after it was checked")
		}
		// What was left for mirrors that did not come is forgotten by then.
		b.set("192.0.2.1", slowly(time.Second)) // or its first check may be over before it is looked at
		b.SetPool(pool(t, ""))
		b.SetPool(p)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Unknown {
			t.Errorf("one that comes after the first sweep is %v before it is probed", v.State)
		}
	})
}

// TestMemoryTellsApart: each endpoint gets its own verdict back, where they differ by address and by role.
func TestMemoryTellsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mirrors := func(b *bed) {
			p := pool(t, "a.example.net=192.0.2.1,192.0.2.2")
			p.Mirrors[0].RsyncURL = "rsync://a.example.net/tails/"
			b.SetPool(p)
		}
		old := newBed(t, nil)
		want := map[string]State{"192.0.2.1/http": Up, "192.0.2.1/dns": Down, "192.0.2.2/http": Down, "192.0.2.2/dns": Up,
			"192.0.2.1/rsync": Down}
		for endpoint, state := range want {
			if state == Down {
				old.set(endpoint, fails("connect: connection refused"))
			} else {
				old.set(endpoint, carries(traceTime))
			}
		}
		mirrors(old)
		b := old.heir()
		mirrors(b)
		for endpoint, state := range want {
			address, name, _ := strings.Cut(endpoint, "/")
			var role Role
			if err := role.UnmarshalText([]byte(name)); err != nil {
				t.Fatal(err)
			}
			if v := b.verdictAt(address, role); v.State != state {
				t.Errorf("%s is %v, want %v", endpoint, v.State, state)
			}
		}
	})
}

// TestMemoryOfAddresses: what was looked up, or given, is probed again before the first look-up has ended, and nothing
// else.
func TestMemoryOfAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newBed(t, nil)
		old.knows("both.example.net", "192.0.2.1 2001:db8::1")
		old.SetPool(pool(t, "both.example.net given.example.net=192.0.2.2 none.example.net"))
		b := old.heir()
		p := pool(t, "both.example.net given.example.net none.example.net")
		for i := range p.Mirrors {
			p.Mirrors[i].RsyncURL = strings.Replace(p.Mirrors[i].URLPrefix, "http", "rsync", 1)
		}
		b.SetPool(p)
		mirrors := b.Report().Mirrors
		for host, want := range map[string]string{"both": "192.0.2.1 2001:db8::1", "given": "192.0.2.2", "none": ""} {
			m := mirrors["http://"+host+".example.net/tails/"]
			var got []netip.Addr
			for _, e := range m.Endpoints {
				if e.Role == HTTP {
					got = append(got, e.Address)
				}
			}
			if !slices.Equal(got, addrs(want)) || (m.Rsync != nil) != (want != "") {
				t.Errorf("%s: probed at %v, rsync %v; want %q", host, got, m.Rsync, want)
			}
		}
	})
}

func TestRevive(t *testing.T) {
	t.Parallel()
	now, maxAge := time.Unix(1_800_000_000, 0), 5*time.Minute
	down := Verdict{State: Down, Reason: "refused", Since: now.Add(-time.Hour), Checked: now.Add(-time.Minute)}
	with := func(v Verdict, change func(*Verdict)) Verdict { change(&v); return v }
	restored := func(v *Verdict) { v.Restored = true }
	for name, test := range map[string]struct{ saved, want Verdict }{
		"down": {down, with(down, restored)},
		"up, in doubt": {
			with(down, func(v *Verdict) { v.State, v.Pending, v.Count = Up, Down, 2 }),
			with(down, func(v *Verdict) { v.State, v.Reason, v.Restored = Up, "", true })},
		"on its way up": {with(down, func(v *Verdict) { v.Pending, v.Count = Up, 1 }), with(down, restored)},
		"unknown":       {with(down, func(v *Verdict) { v.State, v.From = Unknown, Down }), Verdict{}},
		"just new enough": {
			with(down, func(v *Verdict) { v.Checked = now.Add(-maxAge) }),
			with(down, func(v *Verdict) { v.Checked, v.Restored = now.Add(-maxAge), true })},
		"old": {with(down, func(v *Verdict) { v.Checked = now.Add(-maxAge - 1) }), Verdict{}},
		"of a clock that is a little ahead": {
			with(down, func(v *Verdict) { v.Checked = now.Add(time.Minute) }),
			with(down, func(v *Verdict) { v.Checked, v.Restored = now.Add(time.Minute), true })},
		"of a clock that was wrong": {with(down, func(v *Verdict) { v.Checked = now.Add(time.Minute + 1) }), Verdict{}},
	} {
		if got := test.saved.revive(now, maxAge); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestMemoryForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := ran(t).saved().Bytes()
		restored := func() *bed {
			b := newBed(t, nil)
			if err := b.Restore(bytes.NewReader(state)); err != nil {
				t.Fatal(err)
			}
			b.SetPool(pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2"))
			return b
		}
		wait(4 * time.Minute)
		b := restored()
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up {
			t.Errorf("after less than 10 intervals: %v", v.State)
		}
		wait(time.Minute)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Unknown || b.Warm() {
			t.Errorf("after 10 intervals without a check: %v, warm %v", v.State, b.Warm())
		}
		const message = "ignoring saved verdicts outside the accepted age"
		if n := b.logs.FilterMessage(message).Len(); n != 0 {
			t.Errorf("it is logged %d times that young verdicts are old", n)
		}
		old := restored()
		if v := old.verdictAt("192.0.2.1", HTTP); v.State != Unknown {
			t.Errorf("restored after more than 10 intervals: %v", v.State)
		}
		if logs := old.logs.FilterMessage(message).All(); len(logs) != 1 || logs[0].ContextMap()["verdicts"].(int64) == 0 ||
			logs[0].ContextMap()["age"] != 5*time.Minute {
			t.Errorf("logged %v", old.logs.All())
		}
	})
}

func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := ran(t).saved().Bytes()
		for text, want := range map[string]bool{
			"a.example.net=192.0.2.1":                                                   true,
			"a.example.net=192.0.2.1 d.example.net=192.0.2.4":                           true,
			"a.example.net=192.0.2.1 d.example.net=192.0.2.4 e.example.net=192.0.2.5":   false,
			"a.example.net=192.0.2.1 -d.example.net=192.0.2.4 -e.example.net=192.0.2.5": true,
			"a.example.net=192.0.2.9":                                                   false,
			"":                                                                          false,
		} {
			b := newBed(t, nil)
			if err := b.Restore(bytes.NewReader(state)); err != nil {
				t.Fatal(err)
			}
			b.SetPool(pool(t, text))
			if got := b.Warm(); got != want {
				t.Errorf("%q: warm %v, want %v", text, got, want)
			}
		}
	})
}

// withHeader returns body as Save would write it.
func withHeader(body string) string {
	return fmt.Sprintf("mirrorpool-verdicts 1 sha256:%x\n", sha256.Sum256([]byte(body))) + body
}

func TestRestoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := ran(t).saved().String()
		const address = `{"mirrors":{"http://a/":{"verdicts":[{"address":"192.0.2.1","role":"http","state":"up",%s}]}}}`
		for _, test := range []struct{ name, text, want string }{
			{"empty", "", "not a file of mirrorpool-verdicts"},
			{"foreign", "root:x:0:0:root:/root:/bin/bash\n", "not a file of mirrorpool-verdicts"},
			{"one long line", strings.Repeat("x", 100000), "not a file of mirrorpool-verdicts"},
			{"the future", "mirrorpool-verdicts 2 sha256:00\n{}", "saved by another version of mirrorpool"},
			{"cut", good[:len(good)-1], "checksum does not match"},
			{"edited", strings.Replace(good, `"down"`, `"up"`, 1), "checksum does not match"},
			{"no JSON", withHeader("{"), "unexpected end of JSON input"},
			{"no state", withHeader(strings.Replace(fmt.Sprintf(address, `"change":0`), `"up"`, `"good"`, 1)), `unknown state "good"`},
			{"index out of range", withHeader(fmt.Sprintf(address, `"change":6`)),
				"verdict on http://a/ at 192.0.2.1 in role http is out of range"},
			{"negative index", withHeader(fmt.Sprintf(address, `"change":-1`)),
				"verdict on http://a/ at 192.0.2.1 in role http is out of range"},
			{"negative count of unknowns", withHeader(fmt.Sprintf(address, `"blind":-1`)),
				"verdict on http://a/ at 192.0.2.1 in role http is out of range"},
			{"negative count", withHeader(fmt.Sprintf(address, `"count":-1`)),
				"verdict on http://a/ at 192.0.2.1 in role http is out of range"},
			{"releases out of order", withHeader(`{"releases":[{"trace":"2026-01-02T00:00:00Z","since":"2026-01-02T00:00:00Z"},
				{"trace":"2026-01-01T00:00:00Z","since":"2026-01-03T00:00:00Z"}]}`), "releases are out of order"},
		} {
			b := newBed(t, nil)
			if err := b.Restore(strings.NewReader(test.text)); err == nil || !strings.HasSuffix(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", test.name, err, test.want)
			}
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add(`{"mirrors":{"http://a.example.net/tails/":{"v4":["192.0.2.1"],` +
		`"verdicts":[{"address":"192.0.2.1","role":"http","state":"up"}]}}}`)
	f.Add(`{"releases":[{"trace":"2026-01-02T00:00:00Z","since":"2026-01-02T00:00:00Z"}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		b := newBed(t, nil)
		if err := b.Restore(strings.NewReader(withHeader(body))); err != nil {
			return
		}
		b.SetPool(pool(t, "a.example.net")) // whatever was restored must do no harm
		for _, m := range b.mirrors {
			for _, k := range m.checks {
				k.verdict = k.verdict.Next(Observation{At: time.Now(), Result: Down, Reason: "x"}, policy)
			}
		}
		b.Report()
		if err := b.Save(io.Discard); err != nil {
			t.Errorf("what was restored cannot be saved: %v", err)
		}
	})
}

// TestNewcomer: a mirror that was never up since it was added is a newcomer, across restarts too, until it is up.
func TestNewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const prefix = "http://b.example.net/tails/"
		want := func(what string, b *bed, http, dns bool) {
			t.Helper()
			if got := b.Report().Mirrors[prefix].Newcomer; got != [2]bool{HTTP: http, DNS: dns} {
				t.Errorf("%s: newcomer by role %v, want %v, %v", what, got, http, dns)
			}
		}
		dead := func(b *bed) { b.set("192.0.2.2", fails("connect: connection refused")) }
		b := newBed(t, nil)
		dead(b)
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		stop := b.start()
		<-b.Swept()
		both := pool(t, "a.example.net=192.0.2.1 b.example.net=192.0.2.2")
		b.SetPool(both)
		want("added and not checked yet", b, true, true)
		b.set("192.0.2.2/dns", carries(traceTime))
		wait(10 * time.Minute)
		want("up in one role", b, true, false)
		dead(b)
		b.set("192.0.2.2/dns", nil)
		wait(10 * time.Minute)
		want("down in both", b, true, false)
		stop()
		state := b.saved()

		b = newBed(t, nil)
		dead(b)
		wait(10 * time.Hour) // the verdicts are too old by then
		if err := b.Restore(state); err != nil {
			t.Fatal(err)
		}
		b.SetPool(both)
		want("before the first sweep has ended", b, false, false)
		defer b.start()()
		<-b.Swept()
		wait(time.Minute)
		want("after a restart", b, true, false)
		b.set("192.0.2.2", nil)
		wait(time.Hour)
		want("up at last", b, false, false)
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		dead(b)
		b.SetPool(both)
		wait(time.Minute)
		want("removed and added again", b, true, true)
	})
}

// TestSavedWorking: which mirrors worked can be read before there is a Checker.
func TestSavedWorking(t *testing.T) {
	t.Parallel()
	state := savedState{Saved: epoch, Mirrors: map[string]savedMirror{}}
	add := func(name string, verdicts ...savedVerdict) {
		state.Mirrors["https://"+name+"/"] = savedMirror{Verdicts: verdicts}
	}
	verdict := func(role Role, s State, checked time.Time) savedVerdict {
		return savedVerdict{netip.MustParseAddr("192.0.2.1"), role, Verdict{State: s, Checked: checked}}
	}
	add("up", verdict(HTTP, Up, epoch))
	add("down", verdict(HTTP, Down, epoch), verdict(DNS, Stale, epoch))
	add("up-in-dns", verdict(HTTP, Down, epoch), verdict(DNS, Up, epoch))
	add("rsync-alone", verdict(HTTP, Down, epoch), verdict(Rsync, Up, epoch))
	add("old", verdict(HTTP, Down, epoch.Add(-time.Hour)))
	add("never-checked")
	path := filepath.Join(t.TempDir(), "verdicts")
	if err := statefile.Replace(path, func(w io.Writer) error { return writeSealed(w, stateFormat, &state) }); err != nil {
		t.Fatal(err)
	}
	got := ReadSaved(path, epoch.Add(time.Minute), 30*time.Second).Working
	for name, want := range map[string]bool{"up": true, "down": false, "up-in-dns": true, "rsync-alone": false, "old": true, "never-checked": true} {
		if works, known := got["https://"+name+"/"]; works != want || !known {
			t.Errorf("%s: works %v, known %v, want %v", name, works, known, want)
		}
	}
	if got := ReadSaved(path+".missing", epoch, time.Second).Working; got != nil {
		t.Errorf("without a file: %v", got)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := ReadSaved(path, epoch, time.Second).Working; got != nil {
		t.Errorf("with a damaged file: %v", got)
	}
}

// TestEverUpRestored: a mirror that an earlier version has saved counts as having been up.
func TestEverUpRestored(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		saved savedMirror
		want  [3]bool
	}{
		"an earlier version": {savedMirror{Verdicts: []savedVerdict{}}, [3]bool{true, true, true}},
		"up in one role":     {savedMirror{Verdicts: []savedVerdict{}, EverUp: []Role{DNS}}, [3]bool{DNS: true}},
		"never up":           {savedMirror{Verdicts: []savedVerdict{}, EverUp: []Role{}}, [3]bool{}},
		"not saved":          {savedMirror{}, [3]bool{}},
	} {
		if got := test.saved.everUp(); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestAddressesRestored: with the addresses comes what was known of them.
func TestAddressesRestored(t *testing.T) {
	t.Parallel()
	m := memory{mirrors: map[string]savedMirror{"p": {V4: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Missing: epoch, Failed: true}}}
	var l lookup
	m.recallAddresses("p", &l)
	if !l.known || !l.hadV4 || l.hadV6 || len(l.v4.Addresses) != 1 || !l.claims.missing.Equal(epoch) || !l.claims.failed {
		t.Errorf("%+v", l)
	}
}
