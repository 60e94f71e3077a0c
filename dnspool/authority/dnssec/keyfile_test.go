package dnssec

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// TestBadPublicKeys wants files that do not hold the one key of a zone to be refused, and says why.
func TestBadPublicKeys(t *testing.T) {
	t.Parallel()
	key, err := generate(testZone, dns.ECDSAP256SHA256, Times{})
	if err != nil {
		t.Fatal(err)
	}
	good := key.Record.String()
	data := key.Record.PublicKey
	for name, test := range map[string]struct{ text, want string }{
		"good":              {good, ""},
		"in another case":   {strings.ToUpper(testZone) + " IN DNSKEY 256 3 13 " + data, ""},
		"without a class":   {testZone + " DNSKEY 257 3 13 " + data, ""},
		"with a TTL alone":  {testZone + " 300 DNSKEY 257 3 13 " + data, ""},
		"ED25519":           {testZone + " IN DNSKEY 257 3 15 " + data, ""},
		"empty":             {"", "want a DNSKEY record"},
		"garbage":           {"garbage (", "want a DNSKEY record: "},
		"another type":      {testZone + " IN A 192.0.2.1", "want one DNSKEY record, and nothing else"},
		"two keys":          {good + "\n" + good, "want one DNSKEY record, and nothing else"},
		"garbage behind it": {good + "\ngarbage (", "want one DNSKEY record, and nothing else"},
		"another zone":      {strings.Replace(good, testZone, "other.example.", 1), "is a key of other.example., want one of dl.example.org."},
		"another flag":      {testZone + " IN DNSKEY 385 3 13 " + data, "want the flags 256 or 257 and the protocol 3, got 385 and 3"},
		"another protocol":  {testZone + " IN DNSKEY 257 2 13 " + data, "want the flags 256 or 257 and the protocol 3, got 257 and 2"},
		"another algorithm": {testZone + " IN DNSKEY 257 3 8 " + data, "want the algorithm ECDSAP256SHA256 or ED25519, got RSASHA256"},
	} {
		_, err := parsePublic(test.text, testZone)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestBadKeyFiles wants files that are no key to be refused, and says which part is wrong.
func TestBadKeyFiles(t *testing.T) {
	t.Parallel()
	ecdsa, err := generate(testZone, dns.ECDSAP256SHA256, Times{})
	if err != nil {
		t.Fatal(err)
	}
	ed25519, err := generate(testZone, dns.ED25519, Times{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		algorithm       uint8
		public, private string // in place of the good ones; "-": there is none; "": the good one
		want            string
	}{
		"good":                          {dns.ED25519, "", "", ""},
		"no private, bad public":        {dns.ED25519, "garbage", "-", "want a DNSKEY record: "},
		"empty private":                 {dns.ED25519, "", "\n", "got an empty file"},
		"cut off":                       {dns.ECDSAP256SHA256, "", ecdsa.secret[:len(ecdsa.secret)-20], "or a file that was cut off"},
		"cut off in the middle":         {dns.ECDSAP256SHA256, "", ecdsa.secret[:40], "got a file without one"},
		"empty private, other":          {dns.ECDSAP256SHA256, "", "\n", "want a private key of the algorithm ECDSAP256SHA256"},
		"private without its number":    {dns.ED25519, "", "Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\n", "want a private key of the algorithm"},
		"private without its number, 2": {dns.ECDSAP256SHA256, "", "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\n", "private key"},
		"ECDSA with ED25519":            {dns.ED25519, "", ecdsa.secret, "want a private key of the algorithm ED25519"},
		"ED25519 with ECDSA":            {dns.ECDSAP256SHA256, "", ed25519.secret, "want a private key of the algorithm ECDSAP256SHA256"},
		"another algorithm":             {dns.ED25519, "", "Private-key-format: v1.3\nAlgorithm: 8 (RSASHA256)\n", "want a private key of the algorithm ED25519"},
	} {
		key, err := generate(testZone, test.algorithm, Times{})
		if err != nil {
			t.Fatal(err)
		}
		stem := filepath.Join(t.TempDir(), "K")
		testbed.Put(t, stem+publicEnd, cmp.Or(test.public, key.Record.String()))
		if test.private != "-" {
			testbed.Put(t, stem+privateEnd, cmp.Or(test.private, key.secret))
			if err := os.Chmod(stem+privateEnd, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err = readKey(stem, testZone, false)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if text := (Times{Created: testNow}).text(); text != "Created: 20270115080000\n" {
		t.Errorf("times are written as %q", text)
	}
}

// TestKeyFilesStay wants the files of a rollover to hold each time once, and the secret as it was, however often they
// are read and written.
func TestKeyFilesStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := read(testConfig(), dir, testNow.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	first := k.All[0]
	secret := first.secret
	if k, err = k.Roll("", testNow, time.Hour); err == nil {
		err = k.Save()
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := seenBy(k)
	for hours := range 50 {
		at := *seen
		at.At = seen.At.Add(time.Duration(hours) * time.Hour)
		if k, err = read(testConfig(), dir, at.At); err != nil {
			t.Fatal(err)
		}
		k = k.Advance(&at, time.Hour)
		if err := k.Save(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, keysFolder, "*"))
	if err != nil || len(files) != 4 {
		t.Fatalf("%q, %v; want four files", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range new(Times).fields() {
			if n := strings.Count("\n"+string(text), "\n"+f.name+": "); n > 1 || n == 1 && strings.HasSuffix(file, publicEnd) {
				t.Errorf("%s has %s %d times", file, f.name, n)
			}
		}
	}
	_, old := k.rolling(seen.At)
	if old == nil || old.Tag != first.Tag || old.secret != secret || old.Times.Delete.IsZero() || old.Times.Created.IsZero() {
		t.Errorf("the old key is %+v, was %+v", old, first)
	}
}

// TestKeysOfOthersStay has the program write no file for keys that the configuration lists.
func TestKeysOfOthersStay(t *testing.T) {
	t.Parallel()
	k := newSplitKey(t)
	dir := t.TempDir()
	keys, err := read(testConfig(k.kskAt, k.zskAt), dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 || names[0].Name() != filepath.Base(SignersFile(dir)) {
		t.Errorf("%v, %v; want what is remembered only", names, err)
	}
	if _, err := keys.Roll("", testNow, time.Hour); err == nil || !strings.Contains(err.Error(), "dnssec-settime") {
		t.Errorf("a rollover of listed keys: %v", err)
	}
	if next, _ := keys.rolling(testNow); next != nil {
		t.Errorf("the key %d of the configuration rolls over by itself", next.Tag)
	}
}

// TestSame tells keys apart by what they do.
func TestSame(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := read(testConfig(), dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	rolled, err := k.Roll("", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	later, withdrawn, elsewhere, led := *k.All[0], *k, *k, *k
	later.Times.Delete = testNow
	withdrawn.withdraw, elsewhere.Zone, led.leader = true, "other.example.", "ns1"
	ahead := *k.All[0]
	ahead.signed = []signedSet{{nil, &dns.RRSIG{
		TypeCovered: dns.TypeDNSKEY, Inception: uint32(testNow.Unix()), Expiration: uint32(testNow.Add(time.Hour).Unix()),
	}}}
	for name, test := range map[string]struct {
		other *Keys
		same  bool
	}{
		"itself": {k, true}, "a copy": {k.with(k.All[0]), true}, "none": {nil, false}, "one more": {rolled, false},
		"another time": {k.with(&later), false}, "no DS record": {&withdrawn, false}, "another zone": {&elsewhere, false},
		"another leader": {&led, false}, "another set that was signed ahead": {k.with(&ahead), false},
	} {
		if got := k.Same(test.other); got != test.same {
			t.Errorf("%s: %v, want %v", name, got, test.same)
		}
	}
	if !(*Keys)(nil).Same(nil) || (*Keys)(nil).Same(k) {
		t.Error("no keys are not the same as no keys")
	}
	if !rolled.Includes(k, testNow) || k.Includes(rolled, testNow) || !k.Includes(k, testNow) {
		t.Error("which keys include which is wrong")
	}
	removed := *rolled.All[1]
	removed.Times.Delete = testNow
	if with := rolled.with(&removed); !k.Includes(with, testNow) || k.Includes(with, testNow.Add(-time.Second)) {
		t.Error("a key that was removed has to stay, or one that was not may go")
	}
	signed := k.with(&ahead)
	if before, after := signed.Phase(testNow.Add(-time.Minute)), signed.Phase(testNow.Add(time.Minute)); before == after {
		t.Errorf("a set that was signed ahead comes into force, and the phase stays %q", after)
	}
}

// TestOtherKeyFiles refuses key files of which none was in use before, where the configuration names them.
func TestOtherKeyFiles(t *testing.T) {
	t.Parallel()
	ended := map[string]time.Time{"257 13 a": testNow.Add(-time.Hour)}
	for name, test := range map[string]struct {
		before signers
		keys   string // that are there
		ok     bool
	}{
		"the same":                       {signers{Keys: []string{"257 13 a"}}, "257 13 a", true},
		"another":                        {signers{Keys: []string{"257 13 a"}}, "257 13 b", false},
		"one of two":                     {signers{Keys: []string{"257 13 a", "257 13 b"}}, "257 13 b", true},
		"the one in use":                 {signers{Keys: []string{"257 13 a", "257 13 b"}, Ends: ended}, "257 13 b", true},
		"another, beside one that ended": {signers{Keys: []string{"257 13 a", "257 13 b"}, Ends: ended}, "257 13 c", false},
		"another, as all have ended":     {signers{Keys: []string{"257 13 a"}, Ends: ended}, "257 13 c", false},
		"the one for the rest alone":     {signers{Keys: []string{"257 13 a", "256 13 z"}}, "256 13 z", false},
	} {
		k := &Keys{Zone: testZone, All: []*Key{{id: test.keys}}}
		if err := k.checkBefore(&test.before, testNow); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLostKey refuses keys of which one is lost that is still in use, whatever the others are. A key that was removed
// from the zone may go.
func TestLostKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ends     time.Duration // when the lost key leaves the zone; 0: that is not planned
		inactive time.Duration // when it signs no more
		want     string
	}{
		"in use": {0, 0, "1 of 2 keys that signed"}, "to be removed": {time.Hour, time.Hour, "1 of 2 keys that signed"},
		"removed": {-time.Hour, -2 * time.Hour, ""}, "still signing": {-time.Hour, time.Hour, "1 of 2 keys that signed"},
	} {
		dir := t.TempDir()
		k, err := read(testConfig(), dir, testNow)
		if err != nil {
			t.Fatal(err)
		}
		if k, err = k.Roll("", testNow.Add(-time.Hour), time.Hour); err != nil {
			t.Fatal(err)
		}
		old, next := *k.All[0], *k.All[1]
		if next.Times.Activate = testNow.Add(-2 * time.Hour); test.ends != 0 {
			old.Times.Delete, old.Times.Inactive = testNow.Add(test.ends), testNow.Add(test.inactive)
		}
		if err := k.with(&old, &next).Save(); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, keysFolder, fmt.Sprintf("K*+%05d.*", old.Tag)))
		if err != nil || len(files) != 2 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		_, err = Read(testConfig(), dir, testNow)
		if got := fmt.Sprint(err); (err == nil) != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// TestNotSigned reads no keys where none are configured.
func TestNotSigned(t *testing.T) {
	t.Parallel()
	if k, err := Read(config.DNS{Zone: testZone}, t.TempDir(), testNow); k != nil || err != nil || k.Save() != nil {
		t.Errorf("%v, %v", k, err)
	}
}

// TestForgottenKeys uses no key, and makes none, as long as the memory of those before is of no use.
func TestForgottenKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := read(testConfig(), dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), keysFolder)
	if err := os.Rename(filepath.Join(dir, keysFolder), kept); err != nil {
		t.Fatal(err)
	}
	testbed.Put(t, SignersFile(dir), "garbage")
	refused := func() {
		t.Helper()
		for range 2 {
			_, err := Read(testConfig(), dir, testNow)
			if err == nil || !strings.Contains(err.Error(), "cannot tell which keys signed") || !strings.Contains(err.Error(), "put the file back") {
				t.Errorf("%v", err)
			}
		}
	}
	refused()
	if !WasSigned(dir, testZone) || WasSigned("", testZone) || WasSigned(t.TempDir(), testZone) {
		t.Error("a zone may have been signed where that was remembered in a file of no use, and only there")
	}
	if err := os.Rename(kept, filepath.Join(dir, keysFolder)); err != nil {
		t.Fatal(err)
	}
	refused()
	if err := os.Remove(SignersFile(dir)); err != nil {
		t.Fatal(err)
	}
	if again, err := read(testConfig(), dir, testNow); err != nil || !again.Same(first) {
		t.Errorf("with the keys back, and without the file: %v, %v", again, err)
	}
}

// TestFolderNamesArePlain finds keys in folders whose names have characters that are special to a shell.
func TestFolderNamesArePlain(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"[a-z]", "*", "?", `back\slash`, "[", "[]"} {
		dir := filepath.Join(t.TempDir(), name)
		first, err := read(testConfig(), dir, testNow)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := first.Save(); err != nil {
			t.Fatal(err)
		}
		if again, err := Read(testConfig(), dir, testNow); err != nil || !again.Same(first) {
			t.Errorf("%s: the second start: %v", name, err)
		}
		k := newSplitKey(t)
		k.moveAway(t, ".1", testNow.Add(-time.Hour), 3, k.both()...)
		if err := os.Rename(filepath.Dir(k.kskAt), filepath.Join(dir, "listed")); err != nil {
			t.Fatal(err)
		}
		in := func(stem string) string { return filepath.Join(dir, "listed", filepath.Base(stem)) }
		if _, err := Read(testConfig(in(k.kskAt), in(k.zskAt)), "", testNow); err != nil {
			t.Errorf("%s: keys that are listed: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	testbed.Put(t, file, "")
	if _, err := filesNamed(file, "K", publicEnd); err == nil {
		t.Error("a folder that cannot be read has no keys")
	}
}

// TestRevokedKeyIsRefused says that a key is not revoked here, in place of passing over that.
func TestRevokedKeyIsRefused(t *testing.T) {
	t.Parallel()
	l := newListedKeys(t, "K1")
	for times, want := range map[string]string{"Revoke 9": "dnssec-settime -R none", "Publish 0, Activate 0": ""} {
		l.set("K1", times)
		_, err := Read(testConfig(l.files["K1"]), "", testNow)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", times, err, want)
		}
	}
}
