package dnssec

import (
	"fmt"
	"os"
	"strings"

	"mirrorpool/config"
)

// Where several servers sign a zone with one set of keys, one of them leads: it alone makes keys and sets their times.
// The others are followers. They read the key files as the leader has written them, and need no word with it: each
// file says from when on its key does what.

// leaderOf returns the server that leads rollovers, or "" if this one does.
func leaderOf(c config.DNS) (string, error) {
	leader, own := c.DNSSEC.Leader, c.NSID
	if leader == "" {
		return "", nil
	}
	if own == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("cannot tell whether this is dns.dnssec.leader: %w; set dns.nsid", err)
		}
		own = host
	}
	if strings.EqualFold(leader, own) {
		return "", nil
	}
	return leader, nil
}

// awaitKeys is why a follower that has no keys yet cannot sign.
func (k *Keys) awaitKeys() error {
	return fmt.Errorf("%s makes the keys of %s (dns.dnssec.leader), and none is in %s; copy its state_dir/%s there",
		k.leader, k.Zone, k.folder(), keysFolder)
}

// refuseToLead is why a follower does not begin a rollover, or give it up.
func (k *Keys) refuseToLead() error {
	return fmt.Errorf("%s leads the rollovers of %s (dns.dnssec.leader): do it there, and copy its state_dir/%s here",
		k.leader, k.Zone, keysFolder)
}
