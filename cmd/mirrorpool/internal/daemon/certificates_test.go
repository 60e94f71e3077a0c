package daemon

import (
	"strings"
	"testing"

	"mirrorpool/config"
	"mirrorpool/dnspool/certificates"
)

func TestReach(t *testing.T) {
	t.Parallel()
	c := &config.Server{
		DNS:     config.DNS{Listen: []string{"127.0.0.1:53"}, Zone: "dl.example.org."},
		HTTP:    config.HTTP{Listen: []string{"127.0.0.1:80"}},
		Publish: []config.Publish{{Server: "192.0.2.53:53", Zone: "example.org."}, {Server: "192.0.2.54:53", Zone: "example.net."}},
	}
	equal, primary := *c, *c
	equal.DNS.Nameservers = []string{"ns1.example.org.", "ns2.example.org."}
	primary.DNS.Nameservers, primary.DNS.Notify = equal.DNS.Nameservers, []string{"192.0.2.53:53"}
	off := *c
	off.DNS, off.HTTP, off.Publish = config.DNS{}, config.HTTP{}, nil
	for _, test := range []struct {
		c    *config.Server
		name string
		want certificates.Reach
	}{
		{c, "dl.example.org", certificates.Reach{OwnZone: true, Published: true, HTTP: true}},
		{c, "*.dl.example.org", certificates.Reach{OwnZone: true, Published: true, HTTP: true}},
		{c, "xdl.example.org", certificates.Reach{Published: true, HTTP: true}},
		{c, "www.example.net", certificates.Reach{Published: true, HTTP: true}},
		{c, "example.com", certificates.Reach{HTTP: true}},
		{&equal, "dl.example.org", certificates.Reach{OwnZone: true, OthersToo: true, Published: true, HTTP: true}},
		{&primary, "dl.example.org", certificates.Reach{OwnZone: true, Published: true, HTTP: true}},
		{&off, "dl.example.org", certificates.Reach{}},
	} {
		if got := reach(test.c, test.name); got != test.want {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
	if at := target(c, "a.example.net"); at == nil || at.Server != "192.0.2.54:53" {
		t.Errorf("updates for a.example.net go to %v", at)
	}
	// A reload may take the target away between the two questions.
	d := &Daemon{inForce: &inForce{}}
	d.config.Store(&off)
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
