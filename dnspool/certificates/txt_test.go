package certificates

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// awayTXT are TXT records at a server that may be away.
type awayTXT struct {
	memoryTXT
	away atomic.Bool
}

// RemoveTXT is described at [TXTRecords].
func (a *awayTXT) RemoveTXT(ctx context.Context, name, value string) error {
	if a.away.Load() {
		return errors.New("the server is away")
	}
	return a.memoryTXT.RemoveTXT(ctx, name, value)
}

// TestLeftRecords has a copy of the program killed while its TXT record is at another server: the next start removes
// the record, or else the next order, and no record of an order that is under way.
func TestLeftRecords(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			authority := newFakeACME(t)
			txt := &awayTXT{memoryTXT: memoryTXT{values: map[string]string{}}}
			txt.away.Store(away)
			killed, other := newStorage(dir), newStorage(dir)
			for _, order := range []notedTXT{
				{TXTRecords: txt, name: authority.name, storage: killed}, {TXTRecords: txt, name: authority.name, storage: other},
			} {
				record := map[*storage]string{killed: "_acme-challenge.killed.example.org.", other: "_acme-challenge.other.example.org."}
				if err := order.AddTXT(t.Context(), record[order.storage], "value-"+record[order.storage]); err != nil {
					t.Fatal(err)
				}
			}
			killed.abandon()
			defer other.abandon() // it lives until then
			o := authority.options(dir, Reach{UpdatedAt: "192.0.2.53:53"}, txt, zap.New(core))
			o.Config.Challenge = "dns-01"
			authority.accepts = func(string) bool {
				if away { // while the order is under way
					time.Sleep(time.Second) // until the start has tried to remove it: simulated time passes when all wait
					txt.away.Store(false)
				}
				return true
			}
			_, stop := runACME(t, o)
			defer stop()
			time.Sleep(time.Minute)
			synctest.Wait()
			txt.mu.Lock()
			defer txt.mu.Unlock()
			if len(txt.values) != 1 || txt.values["_acme-challenge.other.example.org."] == "" {
				t.Errorf("away=%v: records left: %v", away, txt.values)
			}
			if n := logs.FilterMessageSnippet("removed a TXT record").Len(); n != 1 {
				t.Errorf("away=%v: log: %v", away, logs.All())
			}
			if n := logs.FilterMessageSnippet("cannot remove a TXT record that").Len(); n > 0 != away {
				t.Errorf("away=%v: log: %v", away, logs.All())
			}
			if notes, _ := filepath.Glob(filepath.Join(dir, notedFolder, "*")); len(notes) != 1 {
				t.Errorf("away=%v: notes left: %v", away, notes)
			}
		})
	}
}

// TestDamagedNote: a note that cannot be read is named in the log, and changes nothing.
func TestDamagedNote(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", `{"name": "a.example.org", "record": "a.example.org.", "value": "other"}`} {
		core, logs := observer.New(zap.WarnLevel)
		a := NewACME(Options{Dir: t.TempDir(), Log: zap.New(core)})
		key := notedRecord{Value: "value"}.key()
		if err := a.storage.Store(t.Context(), key, []byte(text)); err != nil {
			t.Fatal(err)
		}
		a.removeNoted(t.Context(), key)
		if _, err := os.Stat(a.storage.Filename(key)); err != nil || logs.FilterMessageSnippet("cannot read the note").Len() != 1 {
			t.Errorf("%q: %v, log %v", text, err, logs.All())
		}
	}
}

// TestNotesTakeTurns has more records that cannot be removed than are tried at a time: others are removed nevertheless.
func TestNotesTakeTurns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		txt := &memoryTXT{values: map[string]string{"z.example.org.": "zz"}} // no others
		a := NewACME(Options{Config: &config.ACME{}, Dir: dir, Log: zap.NewNop(), UpdatesAt: func(string, string) TXTRecords { return txt }})
		killed := newStorage(dir)
		for i := range 2*maxNoted + 1 {
			order := notedTXT{TXTRecords: fakeTXT{}, name: "z.example.org", storage: killed}
			if err := order.AddTXT(t.Context(), "stuck.example.org.", fmt.Sprintf("a%04d", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := (notedTXT{TXTRecords: fakeTXT{}, name: "z.example.org", storage: killed}).AddTXT(t.Context(), "z.example.org.", "zz"); err != nil {
			t.Fatal(err)
		}
		killed.abandon()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.removeLeft(ctx); close(done) }()
		for range 3 {
			synctest.Wait()
			signal(a.removed)
		}
		synctest.Wait()
		cancel()
		<-done
		if len(txt.owners()) > 0 {
			t.Error("the record that can be removed is still there")
		}
		if notes, _ := filepath.Glob(filepath.Join(dir, notedFolder, "*")); len(notes) != 2*maxNoted+1 {
			t.Errorf("%d notes are left", len(notes))
		}
	})
}

// TestRecordIsRemovedWhereItIs has a name move to another server, or into our own zone, after a crash: the record is
// removed at the server that it was added at.
func TestRecordIsRemovedWhereItIs(t *testing.T) {
	t.Parallel()
	const name, owner, server, value = "www.example.org", "_acme-challenge.www.example.org.", "192.0.2.53:53", "value"
	for _, now := range []Reach{{OwnZone: true}, {UpdatedAt: "192.0.2.54:53"}, {OwnZone: true, UpdatedAt: "192.0.2.54:53"}} {
		servers := map[string]*memoryTXT{
			server:          {values: map[string]string{}},
			"192.0.2.54:53": {values: map[string]string{}},
		}
		o := Options{
			Config: &config.ACME{}, Dir: t.TempDir(), Log: zap.NewNop(), OwnZone: fakeTXT{},
			UpdatesAt: func(_, server string) TXTRecords { return servers[server] },
		}
		killed := NewACME(o)
		if err := killed.txtRecords(name, Reach{UpdatedAt: server}).AddTXT(t.Context(), owner, value); err != nil {
			t.Fatal(err)
		}
		killed.storage.abandon()
		o.Reach = func(string) Reach { return now }
		a := NewACME(o)
		a.removeNoted(t.Context(), notedRecord{Value: value}.key())
		if left := servers[server].owners(); len(left) > 0 {
			t.Errorf("%+v: at the server: %v", now, left)
		}
		if notes, _ := filepath.Glob(filepath.Join(o.Dir, notedFolder, "*")); len(notes) > 0 {
			t.Errorf("%+v: notes: %v", now, notes)
		}
	}
}
