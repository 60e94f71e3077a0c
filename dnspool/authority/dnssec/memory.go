package dnssec

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mirrorpool/config"
	"mirrorpool/config/statefile"
)

// signersFormat is the file in the state folder that remembers which keys have signed the zone.
var signersFormat = statefile.Format{Kind: "mirrorpool-dnssec", Version: 1, Limit: 1 << 20}

// SignersFile is that file in a state folder.
func SignersFile(dir string) string { return filepath.Join(dir, "dnssec") }

// A signers is what is remembered of one zone.
type signers struct {
	Zone string   `json:"zone"`
	Keys []string `json:"keys"` // public keys with flags and algorithm
	// Ends are when keys leave the zone, if that is known.
	Ends map[string]time.Time `json:"ends,omitempty"`
	// Inactive are when keys sign no more, if that is known. Since are when keys were added that were not always there.
	Inactive map[string]time.Time `json:"inactive,omitempty"`
	Since    map[string]time.Time `json:"since,omitempty"`
	// Publishes are when keys enter the DNSKEY records, if they do.
	Publishes map[string]time.Time `json:"publishes,omitempty"`
	// Activates are when keys begin to sign, and Deletes when they leave the DNSKEY records, if they do.
	Activates map[string]time.Time `json:"activates,omitempty"`
	Deletes   map[string]time.Time `json:"deletes,omitempty"`
	Past      Past                 `json:"past,omitzero"`
}

// A memory is what the file holds: the zone that was signed last, and those before it. Their parents may still have DS
// records when the configuration names one of them again.
type memory struct {
	signers
	Before []signers `json:"before,omitempty"`
}

// maxBefore is how many zones besides the last one are remembered; then the oldest is forgotten.
const maxBefore = 100

// sameKeys reports whether s and other have the same keys, with the same times.
func (s *signers) sameKeys(other *signers) bool {
	same := func(a, b map[string]time.Time) bool { return maps.EqualFunc(a, b, time.Time.Equal) }
	return s.Zone == other.Zone && slices.Equal(s.Keys, other.Keys) && same(s.Ends, other.Ends) && same(s.Inactive, other.Inactive) &&
		same(s.Since, other.Since) && same(s.Publishes, other.Publishes) && same(s.Activates, other.Activates) &&
		same(s.Deletes, other.Deletes)
}

// published reports whether a key was in the DNSKEY records at a time, by the times that it had before.
func (s *signers) published(id string, now time.Time) bool {
	return !s.Publishes[id].After(now) && !passed(s.Deletes[id], now) && !passed(s.Ends[id], now)
}

// signs reports whether a key signed at a time, by the times that it had before.
func (s *signers) signs(id string, now time.Time) bool {
	return !s.Activates[id].After(now) && !passed(s.Inactive[id], now) && !passed(s.Ends[id], now)
}

// inUse returns the keys that have not left the zone in good order; all, if none is left.
func (s *signers) inUse(now time.Time) (ids []string) {
	for _, id := range s.Keys {
		if end, ok := s.Ends[id]; !ok || now.Before(end) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return s.Keys
	}
	return ids
}

func loadMemory(dir string) (m memory, err error) {
	if dir == "" {
		return m, nil
	}
	err = signersFormat.Read(SignersFile(dir), func(body []byte) error { return json.Unmarshal(body, &m) })
	if err != nil {
		return memory{}, fmt.Errorf("%w; put the file back from a backup, or remove it if you are sure that the keys that sign now have "+
			"signed before, or that the parent has no DS record", err)
	}
	return m, nil
}

// of returns what is remembered of a zone.
func (m *memory) of(zone string) signers {
	for _, s := range append([]signers{m.signers}, m.Before...) {
		if s.Zone == zone {
			return s
		}
	}
	return signers{}
}

// with returns m with what is to be remembered of a zone, as the last one.
func (m *memory) with(s signers) memory {
	before := m.without(s.Zone)
	next := memory{signers: s, Before: before.Before}
	if len(before.Keys) > 0 {
		next.Before = append([]signers{before.signers}, next.Before...)
	}
	next.Before = next.Before[:min(len(next.Before), maxBefore)]
	return next
}

// without returns m without a zone.
func (m *memory) without(zone string) memory {
	next := memory{Before: slices.DeleteFunc(slices.Clone(m.Before), func(s signers) bool { return s.Zone == zone })}
	if m.Zone != zone {
		next.signers = m.signers
	}
	return next
}

// stage prepares the file that holds m.
func (m *memory) stage(dir string) (*statefile.Staged, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return signersFormat.Stage(SignersFile(dir), body)
}

// loadSigners returns the keys that signed the zone when it was last served; none if it was not signed.
func loadSigners(dir, zone string) (signers, error) {
	m, err := loadMemory(dir)
	if err != nil {
		return signers{}, fmt.Errorf("cannot tell which keys signed %s before: %w", zone, err)
	}
	return m.of(zone), nil
}

// WasSigned reports whether the zone was signed when it was last served with the state folder dir, or may have been, as
// the file that remembers it is of no use.
func WasSigned(dir, zone string) bool {
	before, err := loadSigners(dir, zone)
	return err != nil || len(before.Keys) > 0
}

// MakesFirstKey reports whether a start makes the first key of a zone, as nothing is known of another one. Servers with
// other keys (RFC 8901) have the parent's DS records name those.
func MakesFirstKey(c config.DNS, dir string) bool {
	if c.DNSSEC == nil || !c.DNSSEC.Auto || len(c.DNSSEC.OtherKeys) > 0 || WasSigned(dir, c.Zone) {
		return false
	}
	files, err := filesNamed(filepath.Join(dir, keysFolder), "K"+c.Zone+"+", publicEnd)
	return err == nil && len(files) == 0
}

// Forget has it that the zone was not signed, once that was turned off. A file that is of no use is set aside.
func Forget(dir, zone string) error {
	m, err := loadMemory(dir)
	if err != nil {
		if err = os.Rename(SignersFile(dir), SignersFile(dir)+statefile.Aside); err != nil {
			return fmt.Errorf("cannot forget the keys of %s: %w", zone, err)
		}
	}
	if len(m.of(zone).Keys) == 0 {
		return nil
	}
	body, err := json.Marshal(m.without(zone))
	if err != nil {
		return err
	}
	return signersFormat.Replace(SignersFile(dir), body)
}
