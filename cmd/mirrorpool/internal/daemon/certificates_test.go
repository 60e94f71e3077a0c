package daemon

import (
	"strings"
	"testing"

	"mirrorpool/config"
)

// TestTargetTakenAway has a reload take the target of updates away while its record is added.
func TestTargetTakenAway(t *testing.T) {
	t.Parallel()
	d := &Daemon{inForce: &inForce{}}
	d.config.Store(&config.Server{})
	if err := d.txtRecords("www.example.net").AddTXT(t.Context(), "_acme-challenge.www.example.net.", "x"); err == nil {
		t.Error("a record for a zone of no target is added")
	}
}

// TestOwnZoneRefuses has a challenge for a name that the zone cannot answer for: an error says so, and nothing changes.
func TestOwnZoneRefuses(t *testing.T) {
	t.Parallel()
	d := &Daemon{inForce: &inForce{}}
	d.config.Store(&config.Server{DNS: config.DNS{
		Listen: []string{"127.0.0.1:53"}, Zone: "dl.example.org.", Names: []string{"@", "*"}, Nameservers: []string{"ns1.example.org."},
	}})
	err := d.txtRecords("x.dl.example.org").AddTXT(t.Context(), "_acme-challenge.x.dl.example.org.", "value")
	if err == nil || !strings.Contains(err.Error(), "x.dl.example.org. exists by a wildcard") || len(d.txt) > 0 {
		t.Errorf("%v, records %v", err, d.txt)
	}
}
