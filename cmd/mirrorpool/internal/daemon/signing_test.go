package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/config/statefile"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/health"
	"mirrorpool/health/probe"
	"mirrorpool/testdata/testbed"
)

// A signedDaemon is a daemon of a signed zone that listens nowhere and checks nothing.
type signedDaemon struct {
	*Daemon
	t     *testing.T
	dir   string
	clock atomic.Pointer[time.Time]
	hook  atomic.Pointer[func(zapcore.Entry)] // called for each line of the log
	logs  *observer.ObservedLogs
}

func newSignedDaemon(t *testing.T, dnssecKeys string) *signedDaemon {
	t.Helper()
	d := &signedDaemon{t: t, dir: t.TempDir()}
	now := time.Unix(1_800_000_000, 0)
	d.clock.Store(&now)
	if err := d.start(dnssecKeys); err != nil {
		t.Fatal(err)
	}
	return d
}

// start makes the daemon, as a start of the program does.
func (d *signedDaemon) start(dnssecKeys string) error {
	d.t.Helper()
	d.write(dnssecKeys, "")
	c, _, err := config.LoadServer(d.file())
	if err != nil {
		return err
	}
	c.DNS.Listen, c.HTTP.Listen = nil, nil
	core, logs := observer.New(zap.InfoLevel)
	d.logs = logs
	log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if hook := d.hook.Load(); hook != nil {
			(*hook)(e)
		}
		return nil
	}))
	o := Options{Config: c, File: d.file(), Log: log, Level: zap.NewAtomicLevel(),
		List: []byte(`{"version": 1, "mirrors": [{"url_prefix": "http://192.0.2.1/", "weight": 1, "name": "m1"}]}`)}
	list, err := startList(d.t.Context(), o, readVerdicts(o.Config, time.Now))
	if err != nil {
		return err
	}
	newChecker := func(o health.Options) (*health.Checker, error) { return probe.NewChecker(o, nil) }
	d.Daemon, err = newDaemon(o, list, newChecker, func() time.Time { return *d.clock.Load() })
	if err != nil {
		return err
	}
	d.begin()
	d.rebuild()
	return nil
}

func (d *signedDaemon) file() string { return filepath.Join(d.dir, "mirrorpool.json") }

// write writes the configuration, with what dns.dnssec is; "" for none.
func (d *signedDaemon) write(dnssecKeys, more string) {
	d.t.Helper()
	if dnssecKeys != "" {
		dnssecKeys = `, "dnssec": ` + dnssecKeys
	}
	testbed.Put(d.t, d.file(), fmt.Sprintf(`{"mirrors": "mirrors.json", "state_dir": "state", "health": {"enabled": false},
		"dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"]%s}%s}`, dnssecKeys, more))
}

// startResolver runs a resolver over UDP until the test ends, and returns its address, at which TCP is free, too.
func startResolver(t *testing.T, answer dns.HandlerFunc) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:"+testbed.FreePort(t))
	if err != nil {
		t.Fatal(err)
	}
	runResolver(t, &dns.Server{PacketConn: conn, Handler: answer})
	return conn.LocalAddr().String()
}

// runResolver runs a resolver at its socket until the test ends.
func runResolver(t *testing.T, server *dns.Server) {
	t.Helper()
	started, done := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		server.Shutdown()
		<-done
	})
}

// TestReloadDuringALookAtTheParent has a configuration come into force while the parent is waited for. What follows
// from that look goes by the new one.
func TestReloadDuringALookAtTheParent(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 1), make(chan struct{})
	resolver := startResolver(t, func(w dns.ResponseWriter, req *dns.Msg) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-release
		resp := new(dns.Msg).SetReply(req)
		resp.RecursionAvailable = true
		w.WriteMsg(resp)
	})
	d := newSignedDaemon(t, fmt.Sprintf(`{"keys": "auto", "resolver": %q}`, resolver))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.watchParent(ctx) }()
	<-asked
	d.write(fmt.Sprintf(`{"keys": "auto", "resolver": %q, "withdraw": true}`, resolver), "")
	if answer := d.reloadSettings(false); answer.Error != "" {
		t.Fatal(answer.Error)
	}
	<-d.parent.ask // so that there is no second look
	close(release)
	testbed.Eventually(t, "the parent is seen", func() bool { view, _, _ := d.parent.known(); return view != nil })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s, _ := d.signatures(); len(s.DS) > 0 || s.KeyFiles != "" {
		t.Errorf("the configuration before is in force again: %+v", s)
	}
}

// TestRolloverDuringAReload begins a rollover after a reload has read the key files and before what it has read is in
// force. Neither undoes the other.
func TestRolloverDuringAReload(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	rolled := make(chan error, 1)
	hook := func(e zapcore.Entry) {
		if e.Message != "the configuration has changes that need a restart" {
			return
		}
		roll := func() { rolled <- d.rollKeys("") }
		if d.keysChange.TryLock() { // or else the rollover waits for the reload
			d.keysChange.Unlock()
			roll()
			return
		}
		go roll()
	}
	d.hook.Store(&hook)
	d.write(`{"keys": "auto", "validity": "72h"}`, `, "admin": {"listen": "127.0.0.1:8059"}`)
	if answer := d.reloadSettings(false); answer.Error != "" || len(answer.Restart) == 0 {
		t.Fatalf("%+v", answer)
	}
	if err := <-rolled; err != nil {
		t.Fatal(err)
	}
	if n := len(d.signer.Keys().All); n != 2 {
		t.Errorf("there are %d keys after a rollover has begun, want 2", n)
	}
	c := d.config.Load()
	if read, err := dnssec.Read(c.DNS, c.StateDir, d.now()); err != nil || !read.Same(d.signer.Keys()) || c.DNS.DNSSEC.Validity != 72*time.Hour {
		t.Errorf("the files hold other keys, or the validity is %v: %v", c.DNS.DNSSEC.Validity, err)
	}
}

// TestReloadsBesideRollovers reloads the configuration again and again while rollovers begin and are given up. In the
// end the files hold the keys that are in force, and keys change only where nothing else changes them.
func TestReloadsBesideRollovers(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto", "resolver": "127.0.0.1:1"}`)
	for _, keys := range []*dnssec.Keys{nil, d.signer.Keys()} { // nil: an error
		err := d.changeKeys(func(*config.Server, *dnssec.Keys, time.Duration) (*dnssec.Keys, error) {
			if d.keysChange.TryLock() {
				d.keysChange.Unlock()
				t.Error("keys change, and others may at the same time")
			}
			if keys == nil {
				return nil, errUnsigned
			}
			return keys, nil
		})
		if (err == nil) != (keys != nil) {
			t.Error(err)
		}
		if !d.keysChange.TryLock() {
			t.Fatal("keys have changed, and others may not")
		}
		d.keysChange.Unlock()
	}
	const rounds = 20
	rolled := make(chan error, 1)
	go func() {
		var errs []error
		for range rounds {
			errs = append(errs, d.rollKeys(""), d.abortRollover(t.Context()))
		}
		rolled <- errors.Join(errs...)
	}()
	for i := range rounds {
		d.write(fmt.Sprintf(`{"keys": "auto", "resolver": "127.0.0.1:1", "validity": "%dh"}, "ttl": "%dm"`, 72+i%2, 1+i%2), "")
		for _, answer := range []admin.SettingsReload{d.previewSettings(false), d.reloadSettings(false)} {
			if answer.Error != "" || len(answer.Applied) == 0 {
				t.Errorf("%+v", answer)
			}
		}
	}
	if err := <-rolled; err != nil {
		t.Error(err)
	}
	c := d.config.Load()
	if read, err := dnssec.Read(c.DNS, c.StateDir, d.now()); err != nil || !read.Same(d.signer.Keys()) || len(read.All) != rounds+1 {
		t.Errorf("the files hold other keys than those in force, or too few: %v", err)
	}
}

// TestNewVersionAfterTheClockWasSetBack has secondaries fetch signatures that hold now.
func TestNewVersionAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	right := d.now()
	for _, now := range []time.Time{right.AddDate(1, 0, 0), right} {
		before := d.current.Load().Serial
		d.clock.Store(&now)
		d.rebuild()
		if serial := d.current.Load().Serial; serial == before {
			t.Errorf("at %v, the serial stays %d", now, serial)
		}
		before = d.current.Load().Serial
		d.rebuild()
		if serial := d.current.Load().Serial; serial != before {
			t.Errorf("at %v, the serial changes again, from %d to %d", now, before, serial)
		}
	}
}

// TestRefusedReloadChangesNothing turns signing off where that cannot be noted. The reload is refused, and what it says
// on the list of mirrors is not in force either.
func TestRefusedReloadChangesNothing(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	file := dnssec.SignersFile(d.config.Load().StateDir)
	// It cannot be set aside, either.
	if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700), os.MkdirAll(filepath.Join(file+statefile.Aside, "full"), 0o700)); err != nil {
		t.Fatal(err)
	}
	d.write("", `, "mirrors_key": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"`)
	answer := d.reloadSettings(true)
	if !strings.Contains(answer.Error, "cannot forget the keys") || len(answer.Applied) > 0 || d.signer.Keys() == nil {
		t.Errorf("the reload is answered with %+v", answer)
	}
	if r := d.list.Preview(t.Context(), false); r.Err != nil {
		t.Errorf("the list is read with settings that were refused: %v", r.Err)
	}
}

// TestReloadRefusedByTheList turns signing off, or changes its keys, in a reload that is refused at the last step, as a
// list of mirrors has come meanwhile that does not go with it. What is remembered of the keys is as it was.
func TestReloadRefusedByTheList(t *testing.T) {
	t.Parallel()
	for name, signing := range map[string]string{"turned off": "", "another leader": `{"keys": "auto", "leader": "ns1"}`, "as it was": `{"keys": "auto"}`} {
		d := newSignedDaemon(t, `{"keys": "auto"}`)
		if err := errors.Join(d.rollKeys(""), d.moveKeys(nil)); err != nil {
			t.Fatal(err)
		}
		d.write(signing, `, "log": {"level": "debug"}`)
		n := d.readSettings(true)
		if n.answer.Error != "" || n.changesKeys() != (name != "as it was") {
			t.Fatalf("%s: %+v", name, n.answer)
		}
		c := *n.config
		c.DNS.Names = append(c.DNS.Names, "m1") // which a mirror has
		n.config = &c
		if err := d.keepSettings(&n); err == nil || !strings.Contains(err.Error(), "m1") {
			t.Errorf("%s: %v", name, err)
		}
		c = *d.config.Load()
		read, err := dnssec.Read(c.DNS, c.StateDir, d.now())
		if err != nil || !read.Same(d.signer.Keys()) || !dnssec.WasSigned(c.StateDir, c.DNS.Zone) {
			t.Errorf("%s: the zone's keys are not remembered: %v", name, err)
		}
		if past, err := dnssec.Recall(c.StateDir, c.DNS.Zone); err != nil || past.TTLs != d.ttls {
			t.Errorf("%s: of what caches may have, %+v is remembered: %v", name, past, err)
		}
	}
}

// TestSigningFailsIsTrouble has the status say that the zone cannot be signed.
func TestSigningFailsIsTrouble(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	if _, err := d.signer.Begin(d.now().AddDate(-100, 0, 0)); err == nil {
		t.Fatal("a key signs before 1970")
	}
	if s, _ := d.signatures(); !strings.Contains(s.Signing, "want an active key") {
		t.Errorf("the status has %q", s.Signing)
	}
}

// TestAbortWithoutAParent gives a rollover up where the parent cannot be seen: only before it was asked for anything.
func TestAbortWithoutAParent(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto", "resolver": "127.0.0.1:1"}`)
	begun := d.now()
	for _, test := range []struct {
		after time.Duration
		want  string
	}{{time.Minute, ""}, {6 * time.Hour, "is not known: asking 127.0.0.1:1 for the DS records"}} {
		if err := d.rollKeys(""); err != nil {
			t.Fatal(err)
		}
		begun = begun.Add(test.after)
		d.clock.Store(&begun)
		err := d.abortRollover(t.Context())
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("after %v: %v, want %q", test.after, err, test.want)
		}
	}
}

// TestSigningNotes has a reload say what comes of changes that leave the keys as they are.
func TestSigningNotes(t *testing.T) {
	t.Parallel()
	d := newSignedDaemon(t, `{"keys": "auto"}`)
	for _, step := range []struct {
		dnssec string
		want   string // in the note; "" for none
	}{
		{`{"keys": "auto", "algorithm": "ED25519"}`, "run mirrorpool dnssec rollover --algorithm ED25519"},
		{`{"keys": "auto"}`, ""},
		{`{"keys": "auto", "validity": "48h"}`, "signatures that hold for longer than 48 hours are made anew"},
		{`{"keys": "auto", "validity": "30d"}`, "hold for 720 hours from when they are made anew, as they fall due within 24 hours"},
		{`{"keys": "auto", "validity": "30d", "withdraw": true}`, ""},
		{`{"keys": "auto", "validity": "30d"}`, ""},
	} {
		d.write(step.dnssec, "")
		d.logs.TakeAll()
		answer := d.reloadSettings(false)
		notes := strings.Join(answer.Notes, "; ")
		if answer.Error != "" || (notes == "") != (step.want == "") || !strings.Contains(notes, step.want) {
			t.Errorf("%s: %+v, want %q", step.dnssec, answer, step.want)
		}
		logged := d.logs.FilterMessage("configuration has changed").All()
		if len(logged) != 1 || !strings.Contains(fmt.Sprint(logged[0].ContextMap()["notes"]), step.want) {
			t.Errorf("%s: the log has %v, want %q", step.dnssec, logged, step.want)
		}
	}
	if err := d.rollKeys("ED25519"); err != nil {
		t.Fatal(err)
	}
	d.write(`{"keys": "auto", "algorithm": "ED25519"}`, "")
	if notes := fmt.Sprint(d.reloadSettings(false).Notes); strings.Contains(notes, "algorithm") {
		t.Errorf("after the rollover has begun: %s", notes)
	}
}
