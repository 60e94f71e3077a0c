package source

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// A signer signs with the real minisign.
type signer struct {
	minisign, secret string
	public           string // as in mirrors_key
}

func newSigner(t testing.TB) *signer {
	t.Helper()
	s := &signer{minisign: testbed.Need(t, "minisign", "minisign")}
	dir := t.TempDir()
	s.secret = filepath.Join(dir, "secret.key")
	s.run(t, "-G", "-W", "-p", filepath.Join(dir, "public.key"), "-s", s.secret)
	text, err := os.ReadFile(filepath.Join(dir, "public.key"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	s.public = lines[len(lines)-1]
	return s
}

func (s *signer) run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(s.minisign, args...).CombinedOutput(); err != nil {
		t.Fatalf("minisign %v: %v\n%s", args, err, out)
	}
}

// sign returns the signature of a text, made with more flags for minisign.
func (s *signer) sign(t testing.TB, text string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mirrors.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.run(t, append([]string{"-S", "-s", s.secret, "-m", path}, flags...)...)
	signature, err := os.ReadFile(path + signatureSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return string(signature)
}

func TestSignedFile(t *testing.T) {
	t.Parallel()
	team, other := newSigner(t), newSigner(t)
	path := filepath.Join(t.TempDir(), "mirrors.json")
	old, next := poolText("a 1", "b 1"), poolText("a 1", "b 1", "c 1")
	testbed.Put(t, path, old)
	testbed.Put(t, path+signatureSuffix, team.sign(t, old))
	r := newRig(t, Options{Source: path}, team.public).start(t)
	for name, signature := range map[string]string{
		"is of other contents":                         team.sign(t, old),
		"but mirrors_key is":                           other.sign(t, next),
		"not a minisign signature: sign the list":      "hello\n",
		"mirrors.json.minisig: want a file of at most": strings.Repeat("x", maxSignatureSize+1),
		// The key's number of the right one, with the signature of another.
		"its signature": forge(t, team.sign(t, next), other.sign(t, next)),
	} {
		testbed.Put(t, path, next)
		testbed.Put(t, path+signatureSuffix, signature)
		result := r.Reload(t.Context(), true)
		var refused *RefusedError
		if !errors.As(result.Err, &refused) || !strings.Contains(result.Err.Error(), name) {
			t.Errorf("%v, want %q", result.Err, name)
		}
		r.expect(t, "a 1", "b 1")
	}
	if err := os.Remove(path + signatureSuffix); err != nil {
		t.Fatal(err)
	}
	if result := r.Reload(t.Context(), false); !strings.Contains(result.Err.Error(), "the list has to come with a signature") {
		t.Errorf("without a signature: %v", result.Err)
	}
	for _, flags := range [][]string{{"-l"}, {"-H"}, {"-t", "a comment"}} { // both kinds that minisign makes
		testbed.Put(t, path, next)
		testbed.Put(t, path+signatureSuffix, team.sign(t, next, flags...))
		if result := r.Reload(t.Context(), false); result.Err != nil {
			t.Errorf("minisign %v: %v", flags, result.Err)
		}
	}
	r.expect(t, "a 1", "b 1", "c 1")
}

// TestSignedWithNewKey replaces the key while the list is in force, in the order that README gives, and in the wrong
// one.
func TestSignedWithNewKey(t *testing.T) {
	t.Parallel()
	old, next := newSigner(t), newSigner(t)
	path := filepath.Join(t.TempDir(), "mirrors.json")
	publish := func(by *signer, mirrors ...string) {
		testbed.Put(t, path, poolText(mirrors...))
		testbed.Put(t, path+signatureSuffix, by.sign(t, poolText(mirrors...)))
	}
	o := Options{Source: path, StateDir: t.TempDir()}
	publish(old, "a 1")
	r := newRig(t, o, old.public).start(t)
	reload := func(want string) {
		t.Helper()
		if result := r.Reload(t.Context(), false); want == "" && result.Err != nil || want != "" &&
			(result.Err == nil || !strings.Contains(result.Err.Error(), want)) {
			t.Errorf("error %v, want %q", result.Err, want)
		}
	}
	r.set(t, testSettings(next.public)) // too early: the old list stays in force, and says why
	reload("but mirrors_key is ")
	r.expect(t, "a 1")
	r.set(t, testSettings(old.public, next.public))
	reload("")
	publish(next, "a 1", "b 1")
	reload("")
	r.expect(t, "a 1", "b 1")
	r.set(t, testSettings(next.public))
	reload("")
	publish(old, "a 1", "evil 1")
	reload("but mirrors_key is ")
	r.expect(t, "a 1", "b 1")
	newRig(t, o, next.public).start(t).expect(t, "a 1", "b 1") // from what was kept
}

// forge puts the key number of one signature into another.
func forge(t testing.TB, numbered, signed string) string {
	t.Helper()
	a, b := strings.Split(numbered, "\n"), strings.Split(signed, "\n")
	// Base64: 10 bytes of algorithm and number are 13 characters and a part of the next. 12 of them leave the
	// last byte to the other key, so that one more is needed; whatever that does to the signature is fine.
	b[1] = a[1][:14] + b[1][14:]
	return strings.Join(b, "\n")
}

// TestSignedEarlier: a list that was signed before the one in force is refused, also after a restart, and by who
// confirms.
func TestSignedEarlier(t *testing.T) {
	t.Parallel()
	team := newSigner(t)
	path := filepath.Join(t.TempDir(), "mirrors.json")
	o := Options{Source: path, StateDir: t.TempDir()}
	publish := func(comment string, mirrors ...string) {
		testbed.Put(t, path, poolText(mirrors...))
		testbed.Put(t, path+signatureSuffix, team.sign(t, poolText(mirrors...), "-t", comment))
	}
	publish("timestamp:1000000000\tfile:mirrors.json", "a 1")
	r := newRig(t, o, team.public).start(t)
	publish("timestamp:1000000100\tfile:mirrors.json\thashed", "a 1", "b 1")
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("%+v", result)
	}
	publish("timestamp:1000000099", "a 1", "evil 1")
	const want = "mirrors.json: signed on 2001-09-09 01:48:19 UTC, before the list in force, which is of 2001-09-09 01:48:20 " +
		"UTC: if this old list is meant, sign it again with minisign -S -m "
	for range 2 {
		for _, confirm := range []bool{false, true} {
			if result := r.Reload(t.Context(), confirm); result.Err == nil || !strings.Contains(result.Err.Error(), want) {
				t.Errorf("%v, want %q", result.Err, want)
			}
			r.expect(t, "a 1", "b 1")
		}
		r = newRig(t, o, team.public).start(t) // with the list that was kept
	}
	for _, comment := range []string{"no time", "timestamp:soon"} {
		publish(comment, "a 1", "c 1")
		if result := r.Reload(t.Context(), true); result.Err == nil ||
			!strings.Contains(result.Err.Error(), "does not say when it was made") {
			t.Errorf("%q: %v", comment, result.Err)
		}
	}
	publish("timestamp:1000000000", "a 1", "b 1") // by a cache that has the signature of before
	if result := r.Reload(t.Context(), false); result.Err != nil {
		t.Errorf("the same list, signed before: %v", result.Err)
	}
	publish("timestamp:1000000099", "a 1", "evil 1")
	if result := r.Reload(t.Context(), false); result.Err == nil {
		t.Error("the age of the list in force is forgotten over that")
	}
	publish("timestamp:1000000100", "a 1", "c 1")
	if result := r.Reload(t.Context(), false); result.Err != nil {
		t.Errorf("as old as the list in force: %v", result.Err)
	}
	r.expect(t, "a 1", "c 1")
}

// TestSignedAhead: who signs with a clock that is ahead does not keep others, whose clocks are right, from signing.
func TestSignedAhead(t *testing.T) {
	t.Parallel()
	team := newSigner(t)
	path := filepath.Join(t.TempDir(), "mirrors.json")
	o := Options{Source: path, StateDir: t.TempDir()}
	r := newRig(t, o, team.public)
	publish := func(at time.Time, mirrors ...string) {
		testbed.Put(t, path, poolText(mirrors...))
		testbed.Put(t, path+signatureSuffix, team.sign(t, poolText(mirrors...), "-t", fmt.Sprintf("timestamp:%d", at.Unix())))
	}
	publish(r.now.Add(365*24*time.Hour), "a 1", "b 1")
	r.start(t)
	r = newRig(t, o, team.public).start(t) // which knows when the list was accepted
	publish(r.now.Add(-time.Second), "a 1", "old 1")
	if result := r.Reload(t.Context(), false); result.Err == nil {
		t.Error("a list from before the one in force was accepted")
	}
	publish(r.now, "a 1", "c 1")
	if result := r.Reload(t.Context(), false); result.Err != nil {
		t.Error(result.Err)
	}
	r.expect(t, "a 1", "c 1")
}

// TestSignedEarlierWhileHeld: an update that waits for confirmation does so on when the source shows an old list
// meanwhile.
func TestSignedEarlierWhileHeld(t *testing.T) {
	t.Parallel()
	team := newSigner(t)
	path := filepath.Join(t.TempDir(), "mirrors.json")
	publish := func(comment string, mirrors ...string) {
		testbed.Put(t, path, poolText(mirrors...))
		testbed.Put(t, path+signatureSuffix, team.sign(t, poolText(mirrors...), "-t", comment))
	}
	publish("timestamp:1000000100", "a 1", "b 1", "c 1")
	r := newRig(t, Options{Source: path}, team.public).start(t)
	publish("timestamp:1000000200", "a 1")
	if result := r.Reload(t.Context(), false); result.Held == nil {
		t.Fatalf("%+v", result)
	}
	publish("timestamp:1000000000", "a 1", "d 1")
	if result := r.Reload(t.Context(), true); result.Err == nil || r.Status().Held == nil {
		t.Errorf("%v; still held: %+v", result.Err, r.Status().Held)
	}
	publish("timestamp:1000000200", "a 1")
	if result := r.Reload(t.Context(), true); !result.Applied {
		t.Errorf("%+v", result)
	}
	r.expect(t, "a 1")
}

// TestSignedHalfUpdated: the list is there before its signature, as with any upload. That is no error.
func TestSignedHalfUpdated(t *testing.T) {
	t.Parallel()
	team := newSigner(t)
	path := filepath.Join(t.TempDir(), "mirrors.json")
	old, next := poolText("a 1", "b 1"), poolText("a 1", "b 1", "c 1")
	testbed.Put(t, path, old)
	testbed.Put(t, path+signatureSuffix, team.sign(t, old))
	r := newRig(t, Options{Source: path}, team.public).start(t)
	signature := team.sign(t, next)
	testbed.Put(t, path, next)
	time.AfterFunc(250*time.Millisecond, func() { testbed.Put(t, path+signatureSuffix, signature) })
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Fatalf("%+v", result)
	}
	r.expect(t, "a 1", "b 1", "c 1")
}

func TestSignedWeb(t *testing.T) {
	t.Parallel()
	team := newSigner(t)
	old, next := poolText("a 1", "b 1"), poolText("a 1", "b 1", "c 1")
	s := newSite(t, old)
	o := Options{Source: s.list(), Transport: s.transport()}
	if err := newRig(t, o, team.public).Start(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "404 Not Found: mirrors_key is given") {
		t.Fatalf("without a signature: %v", err)
	}
	s.set("/mirrors.json.minisig", team.sign(t, old))
	r := newRig(t, o, team.public).start(t)
	r.expect(t, "a 1", "b 1")
	full := s.full.Load()
	if result := r.Reload(t.Context(), false); result.Err != nil || s.full.Load() != full {
		t.Errorf("%+v; sent again", result)
	}
	s.set("/mirrors.json", poolText("evil 1", "a 0", "b 0", "a2 0")) // an attacker with the web site, but not the key
	if result := r.Reload(t.Context(), true); result.Applied || !strings.Contains(result.Err.Error(), "is of other contents") {
		t.Errorf("%+v", result)
	}
	r.expect(t, "a 1", "b 1")
	s.set("/mirrors.json", next)
	s.set("/mirrors.json.minisig", team.sign(t, next)+"\n")
	if result := r.Reload(t.Context(), false); !result.Applied {
		t.Errorf("%+v", result)
	}
	bad := Settings{Keys: []string{"RWQ"}}
	if _, err := New(Options{Source: s.list(), Settings: bad}); err == nil ||
		!strings.Contains(err.Error(), "mirrors_key: not a minisign public key") {
		t.Errorf("a bad key: %v", err)
	}
}
