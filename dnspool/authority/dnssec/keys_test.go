package dnssec

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

const testZone = "dl.example.org."

var testNow = time.Unix(1_800_000_000, 0)

func testConfig(files ...string) config.DNS {
	return config.DNS{Zone: testZone, DNSSEC: &config.DNSSEC{Auto: len(files) == 0, Keys: files, Algorithm: "ECDSAP256SHA256",
		Validity: 7 * 24 * time.Hour}}
}

// read is Read and Save, if there is a folder of state.
func read(c config.DNS, dir string, now time.Time) (*Keys, error) {
	k, err := Read(c, dir, now)
	if err == nil && dir != "" {
		err = k.Save()
	}
	return k, err
}

// TestAutoKey makes a key at the first start, and wants the same at the second, in files that others cannot read.
func TestAutoKey(t *testing.T) {
	t.Parallel()
	for algorithm := range algorithms {
		dir := t.TempDir()
		c := testConfig()
		c.DNSSEC.Algorithm = algorithm
		first, err := read(c, dir, testNow)
		if err != nil {
			t.Fatal(err)
		}
		second, err := read(c, dir, testNow.Add(time.Hour))
		if err != nil || !first.Same(second) || len(second.All) != 1 || !second.All[0].SEP() {
			t.Errorf("%s: %v, want the same key: %+v, %+v", algorithm, err, first, second)
		}
		files, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
		if err != nil || len(files) != 2 {
			t.Errorf("%q, %v; want two files", files, err)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, info.Mode(), err)
			}
		}
	}
}

// TestKeysOthersCanReplace: a file that another user puts into the folder of keys could sign the zone.
func TestKeysOthersCanReplace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := read(testConfig(), dir, testNow); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "keys")
	for mode, good := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o770: false, 0o757: false} {
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
		_, err := read(testConfig(), dir, testNow)
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "run: chmod go-w "+folder) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

// TestLostKeys wants an error, and no new key, where the keys that signed the zone before are gone.
func TestLostKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := read(testConfig(), dir, testNow); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), "keys")
	if err := os.Rename(filepath.Join(dir, "keys"), kept); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := read(testConfig(), dir, testNow); err == nil || !strings.Contains(err.Error(), "put them back from a backup") {
			t.Errorf("without its keys: %v", err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := read(testConfig(), dir, testNow); err == nil {
		t.Error("with an empty folder of keys: no error")
	}
	other := t.TempDir()
	if _, err := read(testConfig(), other, testNow); err != nil {
		t.Fatal(err)
	}
	foreign, err := filepath.Glob(filepath.Join(other, "keys", "*.key"))
	if err != nil || len(foreign) != 1 {
		t.Fatal(foreign, err)
	}
	if _, err := read(testConfig(foreign...), dir, testNow); err == nil {
		t.Error("with another key: no error")
	}
	if err := os.Remove(SignersFile(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(testConfig(foreign...), dir, testNow); err != nil {
		t.Errorf("with another key after dnssec was removed: %v", err)
	}
	if !WasSigned(dir, testZone) || WasSigned(dir, "other.example.") || WasSigned(t.TempDir(), testZone) {
		t.Error("it is not known which zone was signed")
	}
}

// TestSecretKeys wants files that other users can read to be refused, and no error to show what is in them.
func TestSecretKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := read(testConfig(), dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "keys", "*.private"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Chmod(files[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(testConfig(), dir, testNow); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%v, want that others can read it", err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Fields(strings.Split(string(text), "PrivateKey:")[1])[0]
	public := k.All[0].Record.String()
	for _, broken := range []string{strings.Replace(string(text), secret, secret+"!", 1), strings.Replace(string(text), "v1.3", "v9", 1),
		strings.Replace(string(text), "Activate: ", "Activate: x", 1), "PrivateKey: " + secret} {
		if _, err := parseKey(public, broken, testZone); err == nil || strings.Contains(err.Error(), secret[:20]) {
			t.Errorf("%v", err)
		}
	}
}

// TestKeygen reads what dnssec-keygen makes.
func TestKeygen(t *testing.T) {
	t.Parallel()
	keygen := testbed.Need(t, "dnssec-keygen", "bind9-utils")
	dir := t.TempDir()
	make := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(keygen, append(append([]string{"-q", "-K", dir}, args...), testZone)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, strings.TrimSpace(string(out)))
	}
	csk, ed := make("-a", "ECDSAP256SHA256", "-f", "KSK"), make("-a", "ED25519", "-f", "KSK")
	ksk, zsk := make("-a", "13", "-f", "KSK"), make("-a", "13")
	later, rsa := make("-a", "13", "-f", "KSK", "-P", "now", "-A", "+1d"), make("-a", "RSASHA256")
	edZone, unpublished := make("-a", "ED25519"), make("-a", "13", "-A", "now", "-P", "+1d")
	now := time.Now()
	for _, test := range []struct {
		files          []string
		keys, sets     int // that sign the keys, and the other sets
		published      int
		wantErr, about string
	}{
		{files: []string{csk + ".key"}, keys: 1, sets: 1, published: 1},
		{files: []string{ed + ".private"}, keys: 1, sets: 1, published: 1},
		{files: []string{csk, ed}, keys: 2, sets: 2, published: 2},
		{files: []string{ksk, zsk}, keys: 1, sets: 1, published: 2},
		{files: []string{csk, later}, keys: 2, sets: 1, published: 2},
		{files: []string{zsk}, wantErr: "want an active key with the flag SEP"},
		{files: []string{later}, wantErr: "want an active key with the flag SEP"},
		{files: []string{csk, csk}, wantErr: "is there twice"},
		{files: []string{later}, wantErr: "(flags 257, published, active from 20"},
		{files: []string{rsa}, wantErr: "want the algorithm ECDSAP256SHA256 or ED25519"},
		{files: []string{csk + "x"}, wantErr: "cannot read a DNSSEC key"},
		{files: []string{ed, edZone, csk}, keys: 2, sets: 2, published: 3},
		{files: []string{ksk, unpublished}, wantErr: "no published key of its algorithm ECDSAP256SHA256 signs the records of"},
		{files: []string{ksk, edZone}, wantErr: "no published key of its algorithm ED25519 signs the DNSKEY set of dl.example.org.; make the keys"},
		{files: []string{csk, ksk, zsk, edZone}, wantErr: "or list one of ED25519 with the flag SEP (257), too"},
	} {
		k, err := read(testConfig(test.files...), "", now)
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%v: error %v, want %q", test.files, err, test.wantErr)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", test.files, err)
			continue
		}
		r, err := k.at(now)
		if err != nil || len(r.signKeys) != test.keys || len(r.signZone) != test.sets || len(r.published) != test.published {
			t.Errorf("%v: %v, %+v", test.files, err, r)
		}
	}
	if _, err := read(config.DNS{Zone: "other.example.", DNSSEC: testConfig(csk).DNSSEC}, "", now); err == nil ||
		!strings.Contains(err.Error(), "is a key of dl.example.org., want one of other.example.") {
		t.Errorf("for another zone: %v", err)
	}
}

func TestKeyStates(t *testing.T) {
	t.Parallel()
	at := func(hours int) time.Time { return testNow.Add(time.Duration(hours) * time.Hour) }
	times := Times{Publish: at(1), Activate: at(2), Inactive: at(3), Delete: at(4), SyncPublish: at(2), SyncDelete: at(3)}.whole()
	for hour, want := range []State{Waiting, Published, Active, Retired, Removed} {
		if got := times.At(at(hour)); got != want || times.synced(at(hour)) != (hour == 2) {
			t.Errorf("after %d hours: %s, want %s", hour, got, want)
		}
	}
	between := Times{Activate: at(1), Publish: at(2), Delete: at(3), Inactive: at(4)} // of another algorithm than before
	for hour, want := range []State{Waiting, Signing, Active, Signing, Removed} {
		if got := between.At(at(hour)); got != want {
			t.Errorf("of another algorithm, after %d hours: %s, want %s", hour, got, want)
		}
	}
	deleted := Times{Publish: at(0), Activate: at(0), Delete: at(1)}
	if got := deleted.At(at(1)); got != Removed {
		t.Errorf("deleted without having been inactive: %s", got)
	}
	read, err := parseTimes(times.text())
	if err != nil || read.text() != times.text() || !read.Publish.Equal(times.Publish) {
		t.Errorf("%+v, %v", read, err)
	}
	if old, err := parseTimes("Private-key-format: v1.2\n"); err != nil || old.At(testNow) != Active {
		t.Errorf("a key without times is %s: %v", old.At(testNow), err)
	}
}

// FuzzKey looks for a pair of files that makes the program crash, or a key that cannot be used.
func FuzzKey(f *testing.F) {
	made, err := generate(testZone, dns.ECDSAP256SHA256, Times{Publish: testNow})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made.Record.String(), made.secret+made.Times.text())
	f.Add("; a comment\n"+made.Record.String()+"\n", "Private-key-format: v1.2\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: AAAA\n")
	other, err := generate(testZone, dns.ED25519, Times{Publish: testNow})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(other.Record.String(), made.secret)
	f.Add(other.Record.String(), "Private-key-format: v1.3\nAlgorithm: 15 (ED25519)\n")
	f.Fuzz(func(t *testing.T, public, secret string) {
		if record, err := parsePublic(public, testZone); err == nil {
			if sets, err := parseSigned(secret, record); err == nil && sets[0].signature.Verify(record, sets[0].records) != nil {
				t.Errorf("a bad signature passes: %v", sets[0])
			}
		}
		key, err := parseKey(public, secret, testZone)
		if err != nil {
			return
		}
		if key.Record.Hdr.Name != testZone || key.private == nil || key.DS() == nil {
			t.Errorf("%+v", key)
		}
	})
}

// TestOtherKeys publishes a key of another server, which signs nothing here, and which the parent is to know.
func TestOtherKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other, err := generate(testZone, dns.ECDSAP256SHA256, Times{Publish: testNow})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := generate(testZone, dns.ED25519, Times{Publish: testNow})
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]*Key{"other.key": other, "foreign.key": foreign} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key.Record.String()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := testConfig()
	c.DNSSEC.OtherKeys = []string{filepath.Join(dir, "other.key")}
	k, err := read(c, dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	r, err := k.at(testNow)
	if err != nil || len(r.published) != 2 || len(r.signKeys) != 1 || len(r.signZone) != 1 || len(r.synced) != 2 {
		t.Errorf("%v, %+v", err, r)
	}
	rolled, err := k.Roll("", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if next, old := rolled.rolling(testNow); next == nil || old.Tag != k.All[0].Tag {
		t.Errorf("it rolls from %v to %v", old, next)
	}
	before, err := loadSigners(dir, testZone)
	if err != nil || !slices.Equal(before.Keys, []string{k.All[0].id}) {
		t.Errorf("the keys that signed before are %q, %v; want the own one", before.Keys, err)
	}
	c.DNSSEC.OtherKeys = []string{filepath.Join(dir, "foreign.key")}
	if _, err := read(c, dir, testNow); err == nil || !strings.Contains(err.Error(), "want an algorithm that the zone is signed with here") {
		t.Errorf("a key of another algorithm: %v", err)
	}
}

// TestWithdraw asks the parent for no DS record.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	c := testConfig()
	c.DNSSEC.Withdraw = true
	k, err := read(c, "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	r, err := k.at(testNow)
	if err != nil {
		t.Fatal(err)
	}
	sets := r.records()
	for rrtype, want := range map[uint16]string{dns.TypeCDS: "0 0 0 00", dns.TypeCDNSKEY: "0 3 0 AA=="} {
		if got := sets[rrtype]; len(got) != 1 || !strings.HasSuffix(got[0].String(), "\t"+want) {
			t.Errorf("%v, want %s", got, want)
		}
	}
	if len(sets[dns.TypeDNSKEY]) != 1 || k.Describe(testNow, nil, "").Next != "the parent is to remove its DS records" {
		t.Errorf("%v, %+v", sets, k.Describe(testNow, nil, ""))
	}
	for until, want := range map[time.Time]string{
		testNow.Add(time.Hour): "dns.dnssec can be taken out of the configuration, as caches may have the parent's DS records until then, at 2027-01-15T09:00:00Z",
		testNow:                "dns.dnssec can be taken out of the configuration: the parent has no DS record any more",
	} {
		if got := k.Describe(testNow, &View{At: testNow, CachedUntil: until}, "").Next; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestTrouble says what is wrong with signatures that end, and with a parent that knows no key.
func TestTrouble(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	other, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := k.All[0].DS(), other.All[0].DS()
	for _, test := range []struct {
		ds      []*dns.DS
		expires time.Time
		want    string
	}{
		{nil, testNow.Add(24 * time.Hour), ""},
		{[]*dns.DS{ours}, testNow.Add(24 * time.Hour), ""},
		{[]*dns.DS{theirs, ours}, testNow.Add(24 * time.Hour), ""},
		{[]*dns.DS{theirs}, testNow.Add(24 * time.Hour), "name no key"},
		{[]*dns.DS{ours}, testNow.Add(11 * time.Hour), "are not made anew"},
		{[]*dns.DS{ours}, time.Time{}, "No signature"},
	} {
		s := k.Describe(testNow, &View{DS: test.ds, At: testNow}, "")
		s.Expires = test.expires
		if got := s.Trouble(testNow); got != test.want && (test.want == "" || !strings.Contains(got, test.want)) {
			t.Errorf("%+v: %q, want %q", test, got, test.want)
		}
	}
}

// TestKeyTTL gives all keys the same TTL, whatever their files have: they are one set.
func TestKeyTTL(t *testing.T) {
	t.Parallel()
	key, err := generate(testZone, dns.ECDSAP256SHA256, Times{Publish: testNow})
	if err != nil {
		t.Fatal(err)
	}
	record := dns.Copy(key.Record).(*dns.DNSKEY)
	record.Hdr.Ttl = 60
	read, err := parseKey(record.String(), key.secret, testZone)
	if err != nil || read.Record.Hdr.Ttl != KeyTTL {
		t.Errorf("%v, %v", read, err)
	}
	for flags, synced := range map[uint16]bool{dns.ZONE: false, dns.ZONE | dns.SEP: true} {
		record := dns.Copy(record).(*dns.DNSKEY)
		record.Flags = flags
		if other := newOtherKey(record); other.Record.Hdr.Ttl != KeyTTL || other.Times.synced(testNow) != synced || other.Times.At(testNow) != Published {
			t.Errorf("flags %d: %+v", flags, other)
		}
	}
}

// TestForeignPrivateKey refuses a pair of files that are not of one key.
func TestForeignPrivateKey(t *testing.T) {
	t.Parallel()
	var keys [2]*Key
	for i := range keys {
		var err error
		if keys[i], err = generate(testZone, dns.ECDSAP256SHA256, Times{Publish: testNow}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := parseKey(keys[0].Record.String(), keys[1].secret, testZone); err == nil ||
		!strings.Contains(err.Error(), "does not belong to the public one") {
		t.Errorf("%v", err)
	}
	if _, err := newKey(keys[0].Record, brokenKey{keys[0].private}, Times{}); err == nil || !strings.Contains(err.Error(), "is broken") {
		t.Errorf("%v", err)
	}
}

// TestAlgorithmWithoutSigner publishes no key of an algorithm that does not sign: validators would want its signatures.
func TestAlgorithmWithoutSigner(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	other, err := generate(testZone, dns.ED25519, Times{Publish: testNow, SyncPublish: testNow, Activate: testNow.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for hours, keys := range []int{1, 2} {
		r, err := k.with(other).at(testNow.Add(time.Duration(hours) * time.Hour))
		if err != nil || len(r.published) != keys || len(r.synced) != keys || len(r.signKeys) != keys || len(r.signZone) != keys {
			t.Errorf("after %d hours: %+v, %v", hours, r, err)
		}
	}
}

// TestKeysSignInOneOrder wants signatures to be kept whatever the order in which keys are read.
func TestKeysSignInOneOrder(t *testing.T) {
	t.Parallel()
	k, err := read(testConfig(), "", testNow)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = k.Roll("ED25519", testNow, time.Hour); err != nil {
		t.Fatal(err)
	}
	reversed := *k
	reversed.All = []*Key{k.All[1], k.All[0]}
	var first []*Key
	for i := range 40 {
		r, err := []*Keys{k, &reversed}[i%2].at(testNow.Add(4 * time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = r.signZone
		}
		if len(first) != 2 || !slices.Equal(r.signZone, first) || !slices.Equal(r.signKeys, first) {
			t.Fatalf("%v and %v sign, want %v", r.signKeys, r.signZone, first)
		}
	}
}

// TestKeyRecords wants CDS and CDNSKEY records of the keys that the parent is to know, at the zone.
func TestKeyRecords(t *testing.T) {
	t.Parallel()
	c := testConfig()
	for _, c.DNSSEC.Withdraw = range []bool{false, true} {
		k, err := read(c, "", testNow)
		if err != nil {
			t.Fatal(err)
		}
		r, err := k.at(testNow)
		if err != nil {
			t.Fatal(err)
		}
		sets := r.records()
		for _, rrtype := range keyTypes {
			if set := sets[rrtype]; len(set) != 1 || set[0].Header().Name != testZone || set[0].Header().Rrtype != rrtype ||
				set[0].Header().Ttl != KeyTTL || set[0].Header().Class != dns.ClassINET {
				t.Errorf("withdraw %v: %v", c.DNSSEC.Withdraw, set)
			}
		}
		if cds := sets[dns.TypeCDS][0].(*dns.CDS); (cds.KeyTag == k.All[0].Tag) == c.DNSSEC.Withdraw {
			t.Errorf("withdraw %v: %v", c.DNSSEC.Withdraw, cds)
		}
	}
}

// TestKeysAreDescribed says in an error which keys there are.
func TestKeysAreDescribed(t *testing.T) {
	t.Parallel()
	key, err := generate(testZone, dns.ECDSAP256SHA256, Times{Publish: testNow})
	if err != nil {
		t.Fatal(err)
	}
	want := "want an active key with the flag SEP (257) for dl.example.org., got "
	for _, test := range []struct {
		keys []*Key
		got  string
	}{{nil, "no key"}, {[]*Key{key}, key.String() + " (flags 257, published)"}} {
		k := &Keys{Zone: testZone, All: test.keys}
		if _, err := k.at(testNow); err == nil || !strings.HasPrefix(err.Error(), want+test.got+"; list one") {
			t.Errorf("%v, want %s%s; list one", err, want, test.got)
		}
	}
	if key.String() != fmt.Sprintf("ECDSAP256SHA256 %d", key.Tag) {
		t.Errorf("%s", key)
	}
}

// TestBadOtherKeys refuses what is no key of another server, and takes a key that is our own once.
func TestBadOtherKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, err := read(testConfig(), dir, testNow)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "other.key")
	c := testConfig()
	c.DNSSEC.OtherKeys = []string{file}
	if _, err := read(c, dir, testNow); err == nil || !strings.Contains(err.Error(), "cannot read a DNSSEC key") {
		t.Errorf("without a file: %v", err)
	}
	testbed.Put(t, file, "garbage (")
	if _, err := read(c, dir, testNow); err == nil || !strings.Contains(err.Error(), file+": want a DNSKEY record") {
		t.Errorf("with garbage: %v", err)
	}
	rolled, err := k.Roll("ED25519", testNow, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old := *k.All[0]
	old.Times.Delete = testNow
	testbed.Put(t, file, newSplitKey(t).ksk.String()+"\n")
	for name, test := range map[string]struct {
		keys *Keys
		ok   bool
	}{"of an algorithm in use": {rolled, true}, "of one that is removed": {rolled.with(&old), false}} {
		if err := test.keys.with().addOther(file, testNow); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	testbed.Put(t, file, strings.Replace(k.All[0].Record.String(), "257 3 13", "257 3 15", 1)+"\n")
	if _, err := read(c, dir, testNow); err == nil || !strings.Contains(err.Error(), "want an algorithm that the zone is signed with") {
		t.Errorf("with another algorithm: %v", err)
	}
	testbed.Put(t, file, k.All[0].Record.String()+"\n")
	if again, err := read(c, dir, testNow); err != nil || !again.Same(k) {
		t.Errorf("with our own key: %+v, %v", again, err)
	}
}

// TestCDSKeepsTheChain publishes no CDS records with which a parent would have DS records only of keys that do not sign
// the DNSKEY records here.
func TestCDSKeepsTheChain(t *testing.T) {
	t.Parallel()
	l, other := newListedKeys(t, "K1", "K2"), newSplitKey(t)
	for name, test := range map[string]struct {
		first, second string // times
		other         bool
		want          int // CDS records
	}{
		"none is announced":             {"Publish 0, Activate 0", "Publish 0, Activate 9", false, 0},
		"the active one":                {"Publish 0, Activate 0, SyncPublish 0", "Publish 0, Activate 9", false, 1},
		"both":                          {"Publish 0, Activate 0, SyncPublish 0", "Publish 0, Activate 9, SyncPublish 0", false, 2},
		"the one that is to be active":  {"Publish 0, Activate 0", "Publish 0, Activate 9, SyncPublish 0", false, 1},
		"the one that is not published": {"Publish 0, Activate 0", "Publish 8, Activate 9, SyncPublish 0", false, 0},
		"another server's":              {"Publish 0, Activate 0", "Publish 0, Activate 9", true, 0},
		"another server's and ours":     {"Publish 0, Activate 0, SyncPublish 0", "Publish 0, Activate 9", true, 2},
	} {
		l.set("K1", test.first)
		l.set("K2", test.second)
		c := testConfig(l.files["K1"], l.files["K2"])
		if test.other {
			c.DNSSEC.OtherKeys = []string{other.kskAt + publicEnd}
		}
		k, err := Read(c, "", testNow)
		if err != nil {
			t.Fatal(err)
		}
		r, err := k.at(testNow)
		if err != nil {
			t.Fatal(err)
		}
		sets := r.records()
		if len(sets[dns.TypeCDS]) != test.want || len(sets[dns.TypeCDNSKEY]) != test.want {
			t.Errorf("%s: %v, want %d", name, sets[dns.TypeCDS], test.want)
		}
	}
}
