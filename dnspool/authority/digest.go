package authority

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"mirrorpool/config"
)

// Digest is a hash of what the zone holds besides the pool, as the configuration, the zone file and TXT records by
// owner have it. It is the same on servers where these are. zoneFile may be nil.
func Digest(c config.DNS, zoneFile *StaticRecords, txt map[string][]string) uint64 {
	about := struct {
		Zone, Hostmaster   string
		Names, Nameservers []string
		TTL                time.Duration
		CAA                []config.CAA
		File               []byte
		TXT                map[string][]string
	}{Zone: c.Zone, Hostmaster: c.Hostmaster, Names: c.Names, Nameservers: c.Nameservers, TTL: c.TTL, CAA: c.CAA, TXT: txt}
	if zoneFile != nil {
		about.File = zoneFile.sum[:]
	}
	text, err := json.Marshal(about)
	if err != nil { // it holds nothing that cannot be written
		return 0
	}
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}
