package health

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// ran returns a bed that has run for a while: a up, b down, c looked up.
func ran(t *testing.T) *bed {
	b := newBed(t, nil)
	b.knows("c.example.net", "192.0.2.3")
	for _, addr := range []string{"192.0.2.1", "192.0.2.3"} {
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
				was[i].Verdict = old.mirrors[prefix].checks[place{was[i].Address, was[i].Role}].verdict
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
	})
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
		if v := restored().verdictAt("192.0.2.1", HTTP); v.State != Unknown {
			t.Errorf("restored after more than 10 intervals: %v", v.State)
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
			{"index out of range", withHeader(fmt.Sprintf(address, `"change":6`)), "verdict on http://a/ at 192.0.2.1 in role http makes no sense"},
			{"negative index", withHeader(fmt.Sprintf(address, `"change":-1`)), "verdict on http://a/ at 192.0.2.1 in role http makes no sense"},
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
	f.Add(`{"mirrors":{"http://a.example.net/tails/":{"v4":["192.0.2.1"],"verdicts":[{"address":"192.0.2.1","role":"http","state":"up"}]}}}`)
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

func TestStateFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verdicts")
	b := newBed(t, nil)
	if err := b.LoadState(path); err != nil || b.logs.Len() > 0 {
		t.Errorf("no file yet: %v, %d log entries", err, b.logs.Len())
	}
	b.SetPool(pool(t, "a.example.net=192.0.2.1"))
	for range 2 { // the second time there is one to replace
		if err := b.SaveState(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, want mode 0600", info.Mode(), err)
	}
	if left, _ := filepath.Glob(path + "?*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := newBed(t, nil).LoadState(path); err != nil {
		t.Errorf("what was saved: %v", err)
	}
}

func TestBadStateFileIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verdicts")
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBed(t, nil)
	want := path + ": not a file of mirrorpool-verdicts"
	if err := b.LoadState(path); err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if b.logs.FilterMessage("saved verdicts cannot be used").Len() != 1 {
		t.Errorf("logged %v", b.logs.All())
	}
	if aside, err := os.ReadFile(path + ".bad"); err != nil || string(aside) != "nonsense" {
		t.Errorf("set aside: %q, %v", aside, err)
	}
	if err := b.SaveState(path); err != nil {
		t.Error(err)
	}
}

func TestStateThatCannotBeSaved(t *testing.T) {
	b := newBed(t, nil)
	for _, path := range []string{filepath.Join(t.TempDir(), "missing", "verdicts"), "/dev/full/verdicts"} {
		for range 3 {
			if err := b.SaveState(path); err == nil {
				t.Errorf("%s: saved", path)
			}
		}
	}
	if n := b.logs.FilterMessage("verdicts cannot be saved").Len(); n != 2 {
		t.Errorf("warned %d times, want once for each reason", n)
	}
}
