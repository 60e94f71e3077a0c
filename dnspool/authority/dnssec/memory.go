package dnssec

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mirrorpool/config/statefile"
)

// signersFormat is the file in the state folder that remembers which keys have signed the zone.
var signersFormat = statefile.Format{Kind: "mirrorpool-dnssec", Version: 1, Limit: 1 << 20}

func signersFile(dir string) string { return filepath.Join(dir, "dnssec") }

// A signers is what the file holds.
type signers struct {
	Zone string   `json:"zone"`
	Keys []string `json:"keys"` // public keys with flags and algorithm
	// Ends are when keys leave the zone, if that is known.
	Ends map[string]time.Time `json:"ends,omitempty"`
}

func (s *signers) equal(other *signers) bool {
	return s.Zone == other.Zone && slices.Equal(s.Keys, other.Keys) && maps.EqualFunc(s.Ends, other.Ends, time.Time.Equal)
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

// loadSigners returns the keys that signed the zone when it was last served; none if it was not signed.
func loadSigners(dir, zone string) (s signers, err error) {
	if dir == "" {
		return s, nil
	}
	err = signersFormat.Load(signersFile(dir), func(body []byte) error { return json.Unmarshal(body, &s) })
	if err != nil {
		return signers{}, fmt.Errorf("cannot tell which keys signed %s before: %w", zone, err)
	}
	if s.Zone != zone {
		return signers{}, nil
	}
	return s, nil
}

// forgotten reports whether that file was of no use, and set aside.
func forgotten(dir string) bool {
	_, err := os.Stat(signersFile(dir) + statefile.Aside)
	return err == nil
}

// WasSigned reports whether the zone was signed when it was last served with the state folder dir.
func WasSigned(dir, zone string) bool {
	before, err := loadSigners(dir, zone)
	return err == nil && len(before.Keys) > 0
}
