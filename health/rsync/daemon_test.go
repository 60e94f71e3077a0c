package rsync

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// The tests in this file ask a real rsync daemon on loopback.

// record makes TestDaemon write what the daemon sent to testdata/daemon, where the
// fuzz target finds its seeds.
var record = flag.Bool("record", false, "record the daemon's side of each conversation")

// traceTime is odd enough not to be a default.
var traceTime = time.Date(2026, 3, 1, 12, 34, 57, 0, time.UTC)

// A daemon is a running rsync daemon.
type daemon struct {
	addr string
	log  string // file
	root string // directory that every module serves
}

const modules = `
[tails]
  path = %[1]s/tree
[picky]
  path = %[1]s/tree
  refuse options = *
[locked]
  path = %[1]s/tree
  auth users = someone
  secrets file = %[1]s/secrets
[denied]
  path = %[1]s/tree
  hosts deny = *
[full]
  path = %[1]s/tree
  max connections = 1
  lock file = %[1]s/lock
[closed]
  path = %[1]s/tree
  max connections = -1
  lock file = %[1]s/lock
[hook]
  path = %[1]s/tree
  pre-xfer exec = echo load is 99; false
[early]
  path = %[1]s/tree
  early exec = false
[two words]
  path = %[1]s/tree
`

// startDaemon runs rsync on a free port, with a message of the day if motd is not
// empty, and returns once it greets.
func startDaemon(t testing.TB, motd string) *daemon {
	t.Helper()
	dir := t.TempDir()
	d := &daemon{log: filepath.Join(dir, "log"), root: filepath.Join(dir, "tree"), addr: "127.0.0.1:" + testbed.FreePort(t)}
	global := fmt.Sprintf("log file = %s\n", d.log)
	if motd != "" {
		global += "motd file = " + writeFile(t, filepath.Join(dir, "motd"), motd, time.Now()) + "\n"
	}
	writeFile(t, filepath.Join(dir, "secrets"), "someone:secret\n", time.Now())
	testbed.Rsync(t, d.addr, global+fmt.Sprintf(modules, dir))
	return d
}

// add puts a file into the tree that the modules serve.
func (d *daemon) add(t testing.TB, name, content string, mtime time.Time) string {
	t.Helper()
	return writeFile(t, filepath.Join(d.root, name), content, mtime)
}

func writeFile(t testing.TB, name, content string, mtime time.Time) string {
	t.Helper()
	err := errors.Join(
		os.MkdirAll(filepath.Dir(name), 0o755),
		os.WriteFile(name, []byte(content), 0o600),
		os.Chtimes(name, mtime, mtime))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// complaints returns the lines of the daemon's log that speak of a broken
// conversation.
func (d *daemon) complaints(t testing.TB) []string {
	t.Helper()
	b, err := os.ReadFile(d.log)
	if err != nil {
		t.Fatal(err)
	}
	var bad []string
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "rsync error") || strings.Contains(line, "connection") {
			bad = append(bad, line)
		}
	}
	return bad
}

// furnish adds the files of TestDaemon.
func furnish(t *testing.T, d *daemon) {
	t.Helper()
	d.add(t, "project/trace", "1772368497\n", traceTime)
	d.add(t, "trace", "in the root\n", traceTime.Add(time.Hour))
	d.add(t, "a/b/c/d/e/trace", "", traceTime)
	d.add(t, "with space/tr ace", "x", traceTime)
	d.add(t, "Grüße/"+strings.Repeat("n", 255), "y", traceTime)
	d.add(t, "late", "z", time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC))
	d.add(t, "epoch", "z", time.Unix(0, 0))
	if err := os.Chmod(d.add(t, "public", "", traceTime), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int64{"2g-1": 1<<31 - 1, "2g": 1 << 31, "4g-1": 1<<32 - 1, "5g": 5 << 30} {
		if err := os.Truncate(d.add(t, name, "", traceTime), size); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(d.root, name), traceTime, traceTime); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("trace", filepath.Join(d.root, "link")); err != nil {
		t.Fatal(err)
	}
}

func TestDaemon(t *testing.T) {
	const motd = "Welcome to example.org\n\nBe kind.\n@RSYNCD is not a command here\n"
	d := startDaemon(t, motd)
	furnish(t, d)

	tests := []struct {
		name         string
		module, path string
		want         File
		err          error
		says         string // part of the error's text
	}{
		{"trace", "tails", "project/trace", File{11, traceTime, 0o600}, nil, ""},
		{"slashes", "tails", "/project//./trace", File{11, traceTime, 0o600}, nil, ""},
		{"root", "tails", "trace", File{12, traceTime.Add(time.Hour), 0o600}, nil, ""},
		{"nested", "tails", "a/b/c/d/e/trace", File{0, traceTime, 0o600}, nil, ""},
		{"space", "two words", "with space/tr ace", File{1, traceTime, 0o600}, nil, ""},
		{"long", "tails", "Grüße/" + strings.Repeat("n", 255), File{1, traceTime, 0o600}, nil, ""},
		{"mode", "tails", "public", File{0, traceTime, 0o644}, nil, ""},
		{"2040", "tails", "late", File{1, time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC), 0o600}, nil, ""},
		{"1970", "tails", "epoch", File{1, time.Unix(0, 0).UTC(), 0o600}, nil, ""},
		{"2GiB-1", "tails", "2g-1", File{1<<31 - 1, traceTime, 0o600}, nil, ""},
		{"2GiB", "tails", "2g", File{1 << 31, traceTime, 0o600}, nil, ""},
		{"4GiB-1", "tails", "4g-1", File{1<<32 - 1, traceTime, 0o600}, nil, ""},
		{"5GiB", "tails", "5g", File{5 << 30, traceTime, 0o600}, nil, ""},
		{"refuse options", "picky", "project/trace", File{11, traceTime, 0o600}, nil, ""},

		{"missing", "tails", "project/nothing", File{}, ErrNoFile, "No such file or directory"},
		{"no directory", "tails", "nowhere/trace", File{}, ErrNoFile, "No such file or directory"},
		{"directory", "tails", "project", File{}, ErrNoFile, "skipping directory project"},
		{"symlink", "tails", "link", File{}, ErrNoFile, "it is a symbolic link"},
		{"unknown module", "tials", "project/trace", File{}, ErrUnknownModule,
			"the daemon has no such module: @ERROR: Unknown module 'tials'"},
		{"auth", "locked", "project/trace", File{}, ErrAuthRequired, "asks for a password"},
		{"denied", "denied", "project/trace", File{}, ErrRefused, "@ERROR: access denied to denied from"},
	}
	for _, version := range []int{27, 28, 29} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%d/%s", version, tt.name), func(t *testing.T) {
				tap := &tap{Conn: dial(t, d.addr)}
				start := time.Now()
				got, err := stat(within(t, 20*time.Second), tap, tt.module, tt.path, version)
				if !errors.Is(err, tt.err) || got != tt.want {
					t.Fatalf("got %+v, %v, want %+v, %v", got, err, tt.want, tt.err)
				}
				if err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Errorf("error %q does not say %q", err, tt.says)
				}
				if took := time.Since(start); took > goodbyeLimit {
					t.Errorf("took %v: the daemon was left waiting", took)
				}
				if *record && (version == offeredVersion || tt.name == "trace") {
					tap.save(t, fmt.Sprintf("%d-%s", version, tt.name))
				}
			})
		}
	}
	if bad := d.complaints(t); len(bad) > 0 {
		t.Errorf("the daemon's log complains:\n%s", strings.Join(bad, ""))
	}
}

// A tap keeps what was read through it.
type tap struct {
	net.Conn
	heard bytes.Buffer
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.heard.Write(p[:n])
	return n, err
}

func (t *tap) save(tb testing.TB, name string) {
	tb.Helper()
	dir := filepath.Join("testdata", "daemon")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".bin")
	if err := os.WriteFile(file, t.heard.Bytes(), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func TestDaemonWithoutMOTD(t *testing.T) {
	d := startDaemon(t, "")
	d.add(t, "project/trace", "1772368497\n", traceTime)
	got, err := Stat(within(t, 20*time.Second), dial(t, d.addr), "tails", "project/trace")
	if want := (File{11, traceTime, 0o600}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestDaemonFull(t *testing.T) {
	d := startDaemon(t, "")
	d.add(t, "project/trace", "x", traceTime)

	// One conversation that stops once it has its place in the module.
	first := newSession(within(t, 20*time.Second), dial(t, d.addr), maxConversation)
	if err := errors.Join(first.greet(offeredVersion), first.open("full", offeredVersion)); err != nil {
		t.Fatal(err)
	}
	_, err := Stat(within(t, 20*time.Second), dial(t, d.addr), "full", "project/trace")
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "max connections (1) reached") {
		t.Errorf("got %v, want %v with the daemon's words", err, ErrBusy)
	}
}

// TestDaemonHooks: a hook that fails, as when it watches the load, is no fault of what the daemon serves. A module that
// its administrator has closed is not busy.
func TestDaemonHooks(t *testing.T) {
	d := startDaemon(t, "")
	d.add(t, "project/trace", "1772368497\n", traceTime)
	for module, want := range map[string]struct {
		err  error
		says string
	}{
		"hook":   {ErrBusy, "pre-xfer exec returned failure"},
		"early":  {ErrBusy, "@ERROR: early exec failed"},
		"closed": {ErrRefused, "max connections (-1) reached"},
	} {
		_, err := Stat(within(t, 20*time.Second), dial(t, d.addr), module, "project/trace")
		if !errors.Is(err, want.err) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: got %v, want %v with %q", module, err, want.err, want.says)
		}
	}
}

// TestDaemonUnreadable shows that a file which the daemon cannot open is still listed:
// Stat tells that a file is there, not that it can be fetched.
func TestDaemonUnreadable(t *testing.T) {
	d := startDaemon(t, "")
	if err := os.Chmod(d.add(t, "trace", "secret", traceTime), 0); err != nil {
		t.Fatal(err)
	}
	got, err := Stat(within(t, 20*time.Second), dial(t, d.addr), "tails", "trace")
	if want := (File{6, traceTime, fs.FileMode(0)}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}
