package certificates

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/testdata/testbed"
)

// A ticketCopy is a copy of the program, as far as session tickets go.
type ticketCopy struct {
	*Tickets
	config *tls.Config
}

func newTicketCopy(t *testing.T, cert tls.Certificate, file string, now time.Time) ticketCopy {
	t.Helper()
	c := &tls.Config{Certificates: []tls.Certificate{cert}}
	return ticketCopy{NewTickets(file, now, zap.NewNop(), c), c}
}

// resumes connects a client, and reports whether it resumes a session that is in its cache.
func (c ticketCopy) resumes(t *testing.T, client *tls.Config) bool {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan error, 1)
	go func() {
		server := tls.Server(there, c.config)
		_, err := server.Write([]byte("x")) // after the handshake, and the ticket
		done <- err
	}()
	defer here.Close()
	defer there.Close()
	conn := tls.Client(here, client)
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return conn.ConnectionState().DidResume
}

// TestTickets takes a session from one copy of the program to another one, and through the hours after.
func TestTickets(t *testing.T) {
	t.Parallel()
	authority := testbed.NewAuthority(t)
	cert := authority.Issue(t, "dl.example.org", time.Now().Add(time.Hour))
	start := time.Now()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		file := filepath.Join(t.TempDir(), "ticketkeys")
		old := newTicketCopy(t, cert, file, start)
		session := func() *tls.Config {
			client := &tls.Config{ServerName: "dl.example.org", RootCAs: authority.Roots(), MaxVersion: version,
				ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			if old.resumes(t, client) {
				t.Error("the first session is a resumed one")
			}
			return client
		}
		if client := session(); !old.resumes(t, client) {
			t.Error("the same copy refuses a ticket")
		}
		client := session()
		next := newTicketCopy(t, cert, file, start.Add(time.Minute))
		if !next.resumes(t, client) {
			t.Errorf("%x: the new copy refuses a ticket of the old one", version)
		}
		if other := newTicketCopy(t, cert, "", start); other.resumes(t, session()) {
			t.Error("a copy without the file takes the ticket")
		}
		for _, test := range []struct {
			after time.Duration
			want  bool
		}{{9 * time.Hour, true}, {17 * time.Hour, true}, {24*time.Hour - time.Minute, true}, {24 * time.Hour, false}} {
			client := session()
			next.Rotate(start.Add(test.after))
			if got := next.resumes(t, client); got != test.want {
				t.Errorf("%x: after %v: a ticket resumes: %v", version, test.after, got)
			}
		}
		old.Rotate(start.Add(24 * time.Hour)) // takes in what the new copy has made
		if !next.resumes(t, session()) {
			t.Error("the new copy refuses a ticket of the old one after rotations")
		}
	}
}

// TestSessionsAreShort has a client that resumes its session every hour for a week, at two copies of the program: none
// of its tickets has a secret that is a day old, so that a ticket of TLS 1.2 is refused once a day. The next session is
// resumed again.
func TestSessionsAreShort(t *testing.T) {
	t.Parallel()
	authority := testbed.NewAuthority(t)
	start := time.Now()
	cert := authority.Issue(t, "dl.example.org", start.Add(30*day))
	for version, want := range map[uint16]int{tls.VersionTLS12: 7, tls.VersionTLS13: 0} {
		now := start
		clock := func() time.Time { return now }
		file := filepath.Join(t.TempDir(), "ticketkeys")
		var copies [2]ticketCopy
		for i := range copies {
			copies[i] = newTicketCopy(t, cert, file, start)
			copies[i].config.Time = clock
		}
		client := &tls.Config{ServerName: "dl.example.org", RootCAs: authority.Roots(), MaxVersion: version, Time: clock,
			ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		copies[0].resumes(t, client)
		full, seen := 0, map[string]time.Time{} // when a secret was first seen
		for range 7 * 24 {
			now = now.Add(time.Hour)
			for _, c := range copies {
				c.Rotate(now)
				if !c.resumes(t, client) {
					full++
				}
				secret := secretOf(t, c, client)
				if first, ok := seen[secret]; !ok {
					seen[secret] = now
				} else if now.Sub(first) >= day {
					t.Fatalf("%x: tickets have had the same secret for %v", version, now.Sub(first))
				}
			}
		}
		if full != want {
			t.Errorf("%x: %d full handshakes in a week, want %d", version, full, want)
		}
	}
}

// secretOf returns the secret in the ticket that a client has.
func secretOf(t *testing.T, c ticketCopy, client *tls.Config) string {
	t.Helper()
	session, ok := client.ClientSessionCache.Get(client.ServerName)
	if !ok {
		t.Fatal("no ticket")
	}
	ticket, _, err := session.ResumptionState()
	if err != nil {
		t.Fatal(err)
	}
	state, err := c.config.DecryptTicket(ticket, tls.ConnectionState{})
	if state == nil || err != nil {
		t.Fatal("cannot decrypt a ticket", err)
	}
	text, err := state.Bytes()
	if err != nil || len(text) < 14 {
		t.Fatalf("a session of %d bytes: %v", len(text), err)
	}
	return string(text[14 : 14+text[13]]) // behind the version, the type, the cipher suite, and the time
}

// TestTicketKeys looks at the keys after a long time, at their file, and at one that is of no use.
func TestTicketKeys(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	file := filepath.Join(t.TempDir(), "state", "ticketkeys") // in a folder that is made
	now := time.Now()
	keys := NewTickets(file, now, zap.New(core), new(tls.Config))
	seen := map[[32]byte]time.Time{}
	for range 3 * 24 * 60 {
		now = now.Add(time.Minute)
		keys.Rotate(now)
		if len(keys.keys) > 3 {
			t.Fatalf("%d keys", len(keys.keys))
		}
		for _, k := range keys.keys {
			if first, ok := seen[k.Key]; !ok {
				seen[k.Key] = now
			} else if now.Sub(first) > keyTime {
				t.Fatalf("a key is known for %v", now.Sub(first))
			}
		}
	}
	if len(seen) != 1+9 {
		t.Errorf("%d keys in three days, want one at the start and every 8 hours", len(seen))
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v: %v", info.Mode(), err)
	}
	if logs.Len() > 0 {
		t.Errorf("in the log: %v", logs.All())
	}
	before := keys.keys[0]
	if err := os.WriteFile(file, []byte("not keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys.Rotate(now)
	if logs.Len() != 1 || keys.keys[0] != before {
		t.Errorf("with a bad file: %d lines in the log, another key: %v", logs.Len(), keys.keys[0] != before)
	}
}

// TestCurrentKeys has keys of which some are too old, and some of the future, as when the clock was set back: it would
// be a day more until they are forgotten.
func TestCurrentKeys(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var keys, want []ticketKey
	for i, test := range []struct {
		age  time.Duration
		kept bool
	}{
		{-25 * time.Hour, false}, {-ticketInterval - time.Second, false}, {-ticketInterval, true}, {-time.Second, true},
		{0, true}, {keyTime - time.Second, true}, {keyTime, false}, {48 * time.Hour, false},
	} {
		key := ticketKey{Key: [32]byte{byte(i)}, Made: now.Add(-test.age)}
		keys = append(keys, key, key)
		if test.kept {
			want = append(want, key)
		}
	}
	slices.Reverse(keys)
	if got := current(keys, now); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestTicketFile has files of keys that cannot be used: the copy has a key of its own, and says why.
func TestTicketFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string, mode os.FileMode, text string) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var sealed, unreadable bytes.Buffer
	now := time.Now()
	keys, err := json.Marshal([]ticketKey{{Key: [32]byte{1}, Made: now.Round(0).UTC()}})
	if err := errors.Join(err, ticketFormat.Seal(&sealed, keys), ticketFormat.Seal(&unreadable, []byte("{"))); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file string
		log  string // "": nothing
		own  bool   // the key is not the file's
	}{
		"good":             {path("good", 0o600, sealed.String()), "", false},
		"of others":        {path("open", 0o644, sealed.String()), "other users can read", true},
		"no keys":          {path("none", 0o600, "keys"), "not a file of", true},
		"no JSON":          {path("json", 0o600, unreadable.String()), "unexpected end", true},
		"below a file":     {filepath.Join(path("file", 0o600, ""), "keys"), "not a directory", true},
		"not to be shared": {"", "", true},
	} {
		core, logs := observer.New(zap.WarnLevel)
		keys := NewTickets(test.file, now, zap.New(core), new(tls.Config))
		if own := keys.keys[0].Key != [32]byte{1}; own != test.own || len(keys.keys) != 1 {
			t.Errorf("%s: %d keys, the first is the file's: %v", name, len(keys.keys), !own)
		}
		text := ""
		for _, entry := range logs.All() {
			text += fmt.Sprint(entry.ContextMap()["error"])
		}
		if (text == "") != (test.log == "") || !strings.Contains(text, test.log) {
			t.Errorf("%s: in the log: %q, want %q", name, text, test.log)
		}
	}
}

// TestTicketKeysSavedLater has no key saved at the start, as with a full disk: once files can be saved, the key is
// shared. The same holds for a file that was removed.
func TestTicketKeysSavedLater(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "state")
	if err := os.Symlink(folder, folder); err != nil { // no file can be saved there, even by root
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	file, now := filepath.Join(folder, "ticketkeys"), time.Now()
	keys := NewTickets(file, now, zap.New(core), new(tls.Config))
	for range 10 {
		now = now.Add(time.Minute)
		keys.Rotate(now)
	}
	if logs.Len() != 1 {
		t.Errorf("%d lines in the log, want 1", logs.Len())
	}
	for _, path := range []string{folder, file} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
		keys.Rotate(now)
		if other := NewTickets(file, now, zap.NewNop(), new(tls.Config)); other.keys[0] != keys.keys[0] {
			t.Errorf("a copy that starts a minute after %s was removed has another key", path)
		}
	}
}
