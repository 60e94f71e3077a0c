package dnssec

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"mirrorpool/config/statefile"
)

// signersFormat is the file in the state folder that remembers which keys have signed the zone.
var signersFormat = statefile.Format{Kind: "mirrorpool-dnssec", Version: 1, Limit: 1 << 20}

func signersFile(dir string) string { return filepath.Join(dir, "dnssec") }

// A signers is what the file holds.
type signers struct {
	Zone string   `json:"zone"`
	Keys []string `json:"keys"` // public keys with flags and algorithm
}

// loadSigners returns the keys that signed the zone when it was last served; none if it was not signed.
func loadSigners(dir, zone string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	var s signers
	err := signersFormat.Load(signersFile(dir), func(body []byte) error { return json.Unmarshal(body, &s) })
	if err != nil {
		return nil, fmt.Errorf("cannot tell which keys signed %s before: %w", zone, err)
	}
	if s.Zone != zone {
		return nil, nil
	}
	return s.Keys, nil
}

// forgotten reports whether that file was of no use, and set aside.
func forgotten(dir string) bool {
	_, err := os.Stat(signersFile(dir) + statefile.Aside)
	return err == nil
}

// WasSigned reports whether the zone was signed when it was last served with the state folder dir.
func WasSigned(dir, zone string) bool {
	before, err := loadSigners(dir, zone)
	return err == nil && len(before) > 0
}
