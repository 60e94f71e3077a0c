package source

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mirrorpool/config/statefile"
	"mirrorpool/testdata/testbed"
)

func TestKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, state := filepath.Join(dir, "mirrors.json"), filepath.Join(dir, "state")
	kept := filepath.Join(state, lastGoodName)
	testbed.Put(t, path, poolText("a 1", "b 1"))
	o := Options{Source: path, StateDir: state}
	r := newRig(t, o).start(t)
	accepted := r.now
	info, err := os.Stat(kept)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v; want a file of mode 0600", info, err)
	}
	testbed.Put(t, path, "half")
	r.Reload(t.Context(), false) // what is refused is not kept

	// The source is bad, then gone: the saved list serves, and says how old it is.
	for _, text := range []string{"half", ""} {
		if testbed.Put(t, path, text); text == "" {
			os.Remove(path)
		}
		r = newRig(t, o)
		r.now = accepted.Add(time.Hour)
		r.start(t).expect(t, "a 1", "b 1")
		s := r.Status()
		if !s.Kept || !s.Loaded.Equal(accepted) || !s.Checked.IsZero() || s.Error == "" {
			t.Errorf("status %+v", s)
		}
		lines := r.log.FilterMessage("serving the saved list of mirrors").All()
		if len(lines) != 1 || lines[0].ContextMap()["age"] != time.Hour {
			t.Errorf("log %+v", lines)
		}
	}
	// The source is back with the same list: it is no longer just the kept one.
	testbed.Put(t, path, poolText("a 1", "b 1"))
	if result := r.Reload(t.Context(), false); result.Applied || r.Status().Kept || !r.Status().Loaded.Equal(accepted) {
		t.Errorf("%+v, status %+v", result, r.Status())
	}
	// An update that the guard would have held back is held back by a restart too.
	testbed.Put(t, path, poolText("z 1"))
	r = newRig(t, o).start(t)
	r.expect(t, "a 1", "b 1")
	if s := r.Status(); s.Held == nil || !s.Kept {
		t.Errorf("status %+v", s)
	}
	if result := r.Reload(t.Context(), true); !result.Applied {
		t.Errorf("%+v", result)
	}
	os.Remove(path)
	newRig(t, o).start(t).expect(t, "z 1")
}

// TestKeptOnce: where the source has what was kept, its text is in memory once.
func TestKeptOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Source: filepath.Join(dir, "mirrors.json"), StateDir: filepath.Join(dir, "state")}
	testbed.Put(t, o.Source, poolText("a 1", "b 1"))
	newRig(t, o).start(t)
	r := newRig(t, o).start(t)
	if &r.fetched.list.data[0] != &r.inForce.list.data[0] {
		t.Error("the text of the list is in memory twice")
	}
}

// TestKeptOfNoUse: what was kept counts only if it is whole, and of the same source.
func TestKeptOfNoUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, state := filepath.Join(dir, "mirrors.json"), filepath.Join(dir, "state")
	kept := filepath.Join(state, lastGoodName)
	testbed.Put(t, path, poolText("a 1", "b 1"))
	o := Options{Source: path, StateDir: state}
	newRig(t, o).start(t)
	os.Remove(path)
	newRig(t, o).start(t).expect(t, "a 1", "b 1")
	other := o
	other.Source = filepath.Join(dir, "other.json")
	r := newRig(t, other)
	if err := r.Start(t.Context()); err == nil || errors.As(err, new(*RefusedError)) || r.logged("from another source") != 1 {
		t.Errorf("%v", err)
	}
	// A bit of it is wrong: it is set aside, to be looked at.
	data, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-5] ^= 1
	if err := os.WriteFile(kept, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r = newRig(t, o)
	if err := r.Start(t.Context()); err == nil || r.logged("the saved list of mirrors cannot be used") != 1 {
		t.Errorf("with a corrupt file: %v", err)
	}
	if _, err := os.Stat(kept + statefile.Aside); err != nil {
		t.Error(err)
	}
}

// TestKeptSigned: with a key, what was kept has to be signed too, with this key.
func TestKeptSigned(t *testing.T) {
	t.Parallel()
	team, other := newSigner(t), newSigner(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "mirrors.json")
	text := poolText("a 1", "b 1")
	testbed.Put(t, path, text)
	testbed.Put(t, path+signatureSuffix, team.sign(t, text))
	o := Options{Source: path, StateDir: filepath.Join(dir, "state")}
	newRig(t, o, team.public).start(t)
	os.Remove(path)
	newRig(t, o, team.public).start(t).expect(t, "a 1", "b 1")
	r := newRig(t, o, other.public)
	if err := r.Start(t.Context()); err == nil || r.logged("not signed with mirrors_key") != 1 {
		t.Errorf("with another key: %v", err)
	}
	newRig(t, o).start(t).expect(t, "a 1", "b 1")
}

// TestKeepFails: a disk that is full or read-only is in the log, and stops nothing.
func TestKeepFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, state := filepath.Join(dir, "mirrors.json"), filepath.Join(dir, "state")
	testbed.Put(t, path, poolText("a 1", "b 1"))
	testbed.Put(t, state, "a file, where a folder is wanted")
	r := newRig(t, Options{Source: path, StateDir: state}).start(t)
	if s := r.Status(); s.KeepError == "" || s.Error != "" || r.logged("cannot save the list") != 1 {
		t.Errorf("status %+v", s)
	}
	os.Remove(state)
	if r.Reload(t.Context(), false); r.Status().KeepError != "" {
		t.Errorf("not tried again: %+v", r.Status())
	}
	if k, err := loadLastGood(state); err != nil || k == nil || k.Source != path {
		t.Errorf("%+v, %v", k, err)
	}
}

func FuzzDecodeLastGood(f *testing.F) {
	for _, g := range []*lastGood{{}, {Source: "https://example.org/mirrors.json", Accepted: time.Unix(1_800_000_000, 5).UTC(),
		Signature: []byte("s"), list: []byte(poolText("a 1"))}} {
		body, err := g.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		unsealLastGood(data) // ends well, whatever it is
		if g, err := decodeLastGood(data); err == nil {
			checkLastGood(t, g)
		}
		checkLastGood(t, &lastGood{Source: "x", Signature: data, list: data})
	})
}

// checkLastGood wants what is written to be read again.
func checkLastGood(t *testing.T, g *lastGood) {
	t.Helper()
	body, err := g.encode()
	if err != nil {
		return // a time that JSON cannot say
	}
	again, err := decodeLastGood(body)
	if err != nil {
		t.Fatalf("%+v: %v", g, err)
	}
	if again.Source != g.Source || !again.Accepted.Equal(g.Accepted) || !bytes.Equal(again.Signature, g.Signature) ||
		!bytes.Equal(again.list, g.list) {
		t.Errorf("%+v became %+v", g, again)
	}
}

// TestOldLastGood reads a file of the version before.
func TestOldLastGood(t *testing.T) {
	t.Parallel()
	want := &lastGood{Source: "https://example.org/mirrors.json", Accepted: time.Unix(1_800_000_000, 0).UTC(),
		list: []byte(poolText("a 1"))}
	body, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	old := fmt.Appendf(nil, "mirrorpool-kept-1 %x\n%s", sha256.Sum256(body), body)
	if err := os.WriteFile(filepath.Join(dir, lastGoodName), old, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := loadLastGood(dir)
	if err != nil || got.Source != want.Source || !bytes.Equal(got.list, want.list) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}
