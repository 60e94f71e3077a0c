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
	d.config.Store(&config.Server{Publish: []config.Publish{{Server: "127.0.0.1:9", Zone: "example.net."}}})
	const at = "_acme-challenge.www.example.net."
	for _, server := range []string{"127.0.0.1:9", ""} { // where the target is still, or any
		if err := d.updatesAt("www.example.net", server).RemoveTXT(t.Context(), at, "x"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("at %q: %v, want that the target is asked", server, err)
		}
	}
	err := d.updatesAt("www.example.net", "127.0.0.2:9").AddTXT(t.Context(), at, "x")
	if err == nil || !strings.Contains(err.Error(), "no target any more with the zone of www.example.net at 127.0.0.2:9") {
		t.Errorf("at a server that is gone: %v", err)
	}
}

// TestOwnZoneRefuses has a challenge for a name that the zone cannot answer for: an error says so, and nothing changes.
func TestOwnZoneRefuses(t *testing.T) {
	t.Parallel()
	d := &Daemon{inForce: &inForce{}}
	d.config.Store(&config.Server{DNS: config.DNS{
		Listen: []string{"127.0.0.1:53"}, Zone: "dl.example.org.", Names: []string{"@", "*"}, Nameservers: []string{"ns1.example.org."},
	}})
	err := ownZone{d.inForce}.AddTXT(t.Context(), "_acme-challenge.x.dl.example.org.", "value")
	if err == nil || !strings.Contains(err.Error(), "x.dl.example.org. exists by a wildcard") || len(d.txt) > 0 {
		t.Errorf("%v, records %v", err, d.txt)
	}
}
