package dnssec

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
)

const (
	maxKeyFile = 64 << 10 // bytes
	keysFolder = "keys"   // in state_dir: keys that this program has made
	publicEnd  = ".key"
	privateEnd = ".private"
)

// algorithms are those that a zone may be signed with, by their names in the configuration.
var algorithms = map[string]uint8{"ECDSAP256SHA256": dns.ECDSAP256SHA256, "ED25519": dns.ED25519}

// Read returns the keys that a configuration asks for, or nil if the zone is not to be signed. With "auto" it makes a
// key where none was made before, which Save keeps; but not on a server that another one leads.
//
// Each key is a pair of files as dnssec-keygen makes them. The private one has to be a secret as
// [safefile.ReadSecret] defines it. No error quotes what is in it. There has to be a key that signs now, and where
// stateDir remembers which keys signed before, one of them: a zone that validators know must not lose its keys without
// an error.
func Read(c config.DNS, stateDir string, now time.Time) (*Keys, error) {
	if c.DNSSEC == nil {
		return nil, nil
	}
	before, err := loadSigners(stateDir, c.Zone)
	if err != nil {
		return nil, err
	}
	k := &Keys{Zone: c.Zone, dir: stateDir, auto: c.DNSSEC.Auto, withdraw: c.DNSSEC.Withdraw}
	if k.leader, err = leaderOf(c); err != nil {
		return nil, err
	}
	files := c.DNSSEC.Keys
	if c.DNSSEC.Auto {
		if files, err = k.autoFiles(c.DNSSEC.Algorithm, len(before.Keys) > 0, now); err != nil {
			return nil, err
		}
	}
	for _, file := range files {
		if err := k.add(file); err != nil {
			return nil, err
		}
	}
	for _, file := range c.DNSSEC.OtherKeys {
		if err := k.addOther(file, now); err != nil {
			return nil, err
		}
	}
	if err := k.checkBefore(&before, now); err != nil {
		return nil, err
	}
	k.follow(before, now)
	r, err := k.at(now)
	if err == nil {
		err = r.checkAhead(k)
	}
	return k, err
}

// checkBefore returns an error if keys are missing that were in use when the zone was last served: with keys of this
// program's own, any; with those that the configuration names, all that sign keys.
func (k *Keys) checkBefore(before *signers, now time.Time) error {
	inUse := signKeys(before.inUse(before.Past.Parent.NotBefore(now)))
	all, missing := len(inUse), 0
	for _, id := range inUse {
		if !slices.ContainsFunc(k.All, func(key *Key) bool { return key.id == id }) {
			missing++
		}
	}
	if missing == 0 || !k.auto && missing < all {
		return nil
	}
	where := "list them, or put them back from a backup"
	if k.auto {
		where = fmt.Sprintf("copy their files to %s, from where they were listed or put them back from a backup", k.folder())
	}
	return fmt.Errorf("%d of %d keys that signed %s before are not there; %s, or validators may take the zone for forged; "+
		"if the parent has no DS record of them any more, remove %s", missing, all, k.Zone, where, SignersFile(k.dir))
}

// signKeys returns those of some remembered keys that sign keys; there is always one.
func signKeys(ids []string) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !strings.HasPrefix(id, "257 ") })
}

// autoFiles returns the files of keys that this program has made before. Where there are none, it makes the first key.
func (k *Keys) autoFiles(algorithm string, signedBefore bool, now time.Time) ([]string, error) {
	if err := safefile.CheckFolder(k.folder()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot use the DNSSEC keys: %w", err)
	}
	files, err := filesNamed(k.folder(), "K"+k.Zone+"+", publicEnd)
	switch {
	case err != nil || len(files) > 0 || signedBefore:
		return files, err
	case k.leader != "":
		return nil, k.awaitKeys()
	}
	always := time.Unix(0, 0).UTC() // whatever becomes of the clock
	first, err := generate(k.Zone, algorithms[algorithm], Times{Created: now, Publish: always, Activate: always, SyncPublish: always})
	if err == nil {
		k.All = []*Key{first}
	}
	return nil, err
}

// filesNamed returns the files in a folder, if there is one, whose names begin and end in a way.
func filesNamed(dir, start, end string) (files []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot look for DNSSEC keys: %w", err)
	}
	for _, entry := range entries {
		if rest, ok := strings.CutPrefix(entry.Name(), start); ok && strings.HasSuffix(rest, end) {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files, nil
}

// add reads a key's files.
func (k *Keys) add(file string) error {
	key, err := readKey(file, k.Zone, k.auto)
	if err != nil {
		return err
	}
	for _, other := range k.All {
		switch {
		case other.id == key.id:
			return fmt.Errorf("%s: the key %d is there twice; list it once", file, key.Tag)
		case other.Tag == key.Tag:
			return fmt.Errorf("%s: a second key with the tag %d, by which signatures name it; make another one", file, key.Tag)
		}
	}
	k.All = append(k.All, key)
	return nil
}

// addOther reads the public file of another server's key.
func (k *Keys) addOther(file string, now time.Time) error {
	public, err := safefile.ReadTrusted(file, maxKeyFile)
	if err != nil {
		return fmt.Errorf("cannot read a DNSSEC key: %w", err)
	}
	record, err := parsePublic(string(public), k.Zone)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if !slices.ContainsFunc(k.All, func(key *Key) bool {
		return key.Record.Algorithm == record.Algorithm && key.Times.At(now) != Removed
	}) {
		return fmt.Errorf("%s: want an algorithm that the zone is signed with here, too, got %s", file,
			dns.AlgorithmToString[record.Algorithm])
	}
	if key := newOtherKey(record); !slices.ContainsFunc(k.All, func(other *Key) bool { return other.id == key.id }) {
		k.All = append(k.All, key)
	}
	return nil
}

// folder is where keys are kept that this program has made.
func (k *Keys) folder() string { return filepath.Join(k.dir, keysFolder) }

// generate makes a key that may sign all.
func generate(zone string, algorithm uint8, times Times) (*Key, error) {
	record := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: zone, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: KeyTTL},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: algorithm,
	}
	const bits = 256
	private, err := record.Generate(bits)
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("cannot sign with algorithm %d", algorithm)
	}
	key, err := newKey(record, signer, times.whole())
	if err != nil {
		return nil, err
	}
	key.secret = record.PrivateKeyString(private)
	return key, nil
}

// readKey reads the pair of files of a key of a zone. file is one of the two, or what their names have in common. ours
// says that this program may write them.
func readKey(file, zone string, ours bool) (*Key, error) {
	stem := strings.TrimSuffix(strings.TrimSuffix(file, publicEnd), privateEnd)
	public, err := safefile.ReadTrusted(stem+publicEnd, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read a DNSSEC key: %w", err)
	}
	secret, err := safefile.ReadSecret(stem+privateEnd, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		key, offlineErr := readOffline(stem, string(public), zone)
		if key != nil || offlineErr != nil {
			return key, offlineErr
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read a DNSSEC key: %w", err)
	}
	key, err := parseKey(string(public), string(secret), zone)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", stem, err)
	}
	if ours {
		key.secret = withoutTimes(string(secret))
	}
	return key, nil
}

// readOffline reads a key whose private part is elsewhere. It returns nil if there is nothing that it has signed.
func readOffline(stem, public, zone string) (*Key, error) {
	record, err := parsePublic(public, zone)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", stem, err)
	}
	signed, err := readSigned(stem, record)
	if err != nil || len(signed) == 0 {
		return nil, err
	}
	always := time.Unix(0, 0).UTC()
	return &Key{Record: record, Tag: record.KeyTag(), Times: Times{Publish: always, Activate: always}, id: keyID(record), signed: signed}, nil
}

// parseKey reads the text of both files of a key. No error quotes the secret.
func parseKey(public, secret, zone string) (*Key, error) {
	record, err := parsePublic(public, zone)
	if err != nil {
		return nil, err
	}
	private, err := record.NewPrivateKey(secret)
	if err != nil || !fits(private, record.Algorithm) {
		return nil, fmt.Errorf("want a private key of the algorithm %s, as dnssec-keygen makes it, got %s; put the private file back from a "+
			"backup", dns.AlgorithmToString[record.Algorithm], describeSecret(secret))
	}
	times, err := parseTimes(secret)
	if err != nil {
		return nil, err
	}
	return newKey(record, private.(crypto.Signer), times)
}

// describeSecret says what a private file is that holds no key, without what is in it.
func describeSecret(text string) string {
	switch {
	case strings.TrimSpace(text) == "":
		return "an empty file"
	case !strings.Contains(text, "\nPrivateKey:"):
		return "a file without one"
	default:
		return "one of another algorithm, or a file that was cut off"
	}
}

// fits reports whether a private key is one of an algorithm. miekg/dns takes a file for good that lacks the number, or
// is of another algorithm, and panics once that signs.
func fits(private crypto.PrivateKey, algorithm uint8) bool {
	switch private := private.(type) {
	case ed25519.PrivateKey:
		return algorithm == dns.ED25519 && len(private) == ed25519.PrivateKeySize
	case *ecdsa.PrivateKey:
		_, err := private.Bytes() // which miekg/dns gives no curve if the algorithm is another one
		return err == nil
	}
	return false
}

// parsePublic reads the one DNSKEY record in a file.
func parsePublic(text, zone string) (*dns.DNSKEY, error) {
	parser := dns.NewZoneParser(strings.NewReader(text), "", "")
	parser.SetDefaultTTL(KeyTTL) // which some tools leave out
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("want a DNSKEY record: %w", err)
	}
	if !ok {
		return nil, errors.New("want a DNSKEY record, got an empty file")
	}
	record, ok := rr.(*dns.DNSKEY)
	if _, more := parser.Next(); !ok || more || parser.Err() != nil {
		return nil, errors.New("want one DNSKEY record, and nothing else")
	}
	record.Hdr.Name = dns.CanonicalName(record.Hdr.Name)
	switch {
	case record.Hdr.Name != zone:
		return nil, fmt.Errorf("is a key of %s, want one of %s", record.Hdr.Name, zone)
	case record.Flags != dns.ZONE && record.Flags != dns.ZONE|dns.SEP || record.Protocol != 3:
		return nil, fmt.Errorf("want the flags 256 or 257 and the protocol 3, got %d and %d", record.Flags, record.Protocol)
	case record.Algorithm != dns.ECDSAP256SHA256 && record.Algorithm != dns.ED25519:
		return nil, fmt.Errorf("want the algorithm ECDSAP256SHA256 or ED25519, got %s", dns.AlgorithmToString[record.Algorithm])
	}
	return record, nil
}

// timeFormat is how key files have times, in UTC.
const timeFormat = "20060102150405"

// fields are the times in a key's file, by their names there, in their order.
func (t *Times) fields() []timeField {
	return []timeField{{"Created", &t.Created}, {"Publish", &t.Publish}, {"Activate", &t.Activate}, {"Inactive", &t.Inactive},
		{"Delete", &t.Delete}, {"SyncPublish", &t.SyncPublish}, {"SyncDelete", &t.SyncDelete}}
}

type timeField struct {
	name string
	at   *time.Time
}

// text is the times as lines of a key's file.
func (t Times) text() string {
	var text strings.Builder
	for _, f := range t.fields() {
		if !f.at.IsZero() {
			fmt.Fprintf(&text, "%s: %s\n", f.name, f.at.UTC().Format(timeFormat))
		}
	}
	return text.String()
}

// whole is t in UTC, in whole seconds, as a file has it.
func (t Times) whole() Times {
	for _, f := range t.fields() {
		*f.at = f.at.UTC().Truncate(time.Second)
	}
	return t
}

// withoutTimes is the text of a private file without its times.
func withoutTimes(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, ":")
		if !slices.ContainsFunc(new(Times).fields(), func(f timeField) bool { return f.name == name }) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// parseTimes reads the times in the private file of a key. A key without any, as tools other than dnssec-keygen make
// it, is always active.
func parseTimes(text string) (t Times, err error) {
	any := false
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		if name == "Revoke" {
			return t, errors.New("has a time to be revoked (RFC 5011), which is not done here; take it out with dnssec-settime -R none, and have " +
				"the key replaced by times to be inactive and deleted (-I, -D)")
		}
		for _, f := range t.fields() {
			if f.name != name {
				continue
			}
			if *f.at, err = time.Parse(timeFormat, strings.TrimSpace(value)); err != nil {
				return t, fmt.Errorf("want a time such as 20261129140726 for %s", name)
			}
			any = true
		}
	}
	if !any {
		always := time.Unix(0, 0).UTC()
		t.Publish, t.Activate = always, always
	}
	return t, nil
}
