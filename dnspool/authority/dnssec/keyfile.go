package dnssec

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
	"mirrorpool/config/statefile"
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
// key where none was made before, which Save keeps.
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
	k := &Keys{Zone: c.Zone, dir: stateDir}
	files := c.DNSSEC.Keys
	if c.DNSSEC.Auto {
		if files, err = filepath.Glob(filepath.Join(k.folder(), "K"+c.Zone+"+*"+publicEnd)); err != nil {
			return nil, err
		}
		if len(files) == 0 && len(before) == 0 {
			if k.made, err = generate(c.Zone, algorithms[c.DNSSEC.Algorithm], now); err != nil {
				return nil, err
			}
			k.All = []*Key{k.made.Key}
		}
	}
	for _, file := range files {
		if err := k.add(file); err != nil {
			return nil, err
		}
	}
	if len(before) > 0 && !slices.ContainsFunc(k.All, func(key *Key) bool { return slices.Contains(before, key.id) }) {
		return nil, fmt.Errorf("none of the keys that signed %s before is there; put them back from a backup, or validators "+
			"take the zone for forged; if the parent has no DS record of them any more, remove %s", c.Zone, signersFile(stateDir))
	}
	_, err = k.at(now)
	return k, err
}

// add reads a key's files.
func (k *Keys) add(file string) error {
	key, err := readKey(file, k.Zone)
	if err == nil && slices.ContainsFunc(k.All, func(other *Key) bool { return other.Tag == key.Tag }) {
		err = fmt.Errorf("%s: a second key with the tag %d", file, key.Tag)
	}
	k.All = append(k.All, key)
	return err
}

// folder is where keys are kept that this program has made.
func (k *Keys) folder() string { return filepath.Join(k.dir, keysFolder) }

// Save keeps a key that Read has made, and remembers which keys there are. It has to be called before they sign. On no
// keys it does nothing.
func (k *Keys) Save() error {
	if k == nil || k.dir == "" {
		return nil
	}
	if k.made != nil {
		if err := writeKey(k.folder(), k.made); err != nil {
			return fmt.Errorf("cannot keep a new key: %w", err)
		}
		k.made = nil
	}
	return saveSigners(k.dir, k)
}

// A newlyMade is a key that is in no file yet.
type newlyMade struct {
	*Key
	secret string // what its private file has
}

// generate makes the first key of a zone. It signs all at any time, whatever becomes of the clock.
func generate(zone string, algorithm uint8, now time.Time) (*newlyMade, error) {
	always := time.Unix(0, 0).UTC()
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
	key, err := newKey(record, signer, Times{Created: now.UTC().Truncate(time.Second), Publish: always, Activate: always,
		SyncPublish: always})
	if err != nil {
		return nil, err
	}
	return &newlyMade{key, record.PrivateKeyString(private) + key.Times.text()}, nil
}

// writeKey writes both files of a key, the public one last: alone it would be an error.
func writeKey(dir string, k *newlyMade) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	stem := filepath.Join(dir, fmt.Sprintf("K%s+%03d+%05d", k.Record.Hdr.Name, k.Record.Algorithm, k.Tag))
	write := func(file, text string) error {
		return statefile.Replace(file, func(w io.Writer) error { _, err := io.WriteString(w, text); return err })
	}
	if err := write(stem+privateEnd, k.secret); err != nil {
		return err
	}
	return write(stem+publicEnd, k.Record.String()+"\n")
}

// readKey reads the pair of files of a key of a zone. file is one of the two, or what their names have in common.
func readKey(file, zone string) (*Key, error) {
	stem := strings.TrimSuffix(strings.TrimSuffix(file, publicEnd), privateEnd)
	public, err := safefile.Read(stem+publicEnd, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read a DNSSEC key: %w", err)
	}
	secret, err := safefile.ReadSecret(stem+privateEnd, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("cannot read a DNSSEC key: %w", err)
	}
	key, err := parseKey(string(public), string(secret), zone)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", stem, err)
	}
	return key, nil
}

// parseKey reads the text of both files of a key. No error quotes the secret.
func parseKey(public, secret, zone string) (*Key, error) {
	record, err := parsePublic(public, zone)
	if err != nil {
		return nil, err
	}
	private, err := record.NewPrivateKey(secret)
	signer, ok := private.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("want a private key of the algorithm %s, as dnssec-keygen makes it", dns.AlgorithmToString[record.Algorithm])
	}
	times, err := parseTimes(secret)
	if err != nil {
		return nil, err
	}
	return newKey(record, signer, times)
}

// parsePublic reads the one DNSKEY record in a file.
func parsePublic(text, zone string) (*dns.DNSKEY, error) {
	parser := dns.NewZoneParser(strings.NewReader(text), "", "")
	parser.SetDefaultTTL(KeyTTL)
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil || !ok {
		return nil, fmt.Errorf("want a DNSKEY record: %w", errors.Join(err))
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

// parseTimes reads the times in the private file of a key. A key without any, as tools other than dnssec-keygen make
// it, is always active.
func parseTimes(text string) (t Times, err error) {
	any := false
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
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
