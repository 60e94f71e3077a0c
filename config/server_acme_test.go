package config

import (
	"fmt"
	"testing"
)

// TestUnderscoreInACMEName has a name that public authorities refuse: a private one may issue for it.
func TestUnderscoreInACMEName(t *testing.T) {
	t.Parallel()
	for root, valid := range map[string]bool{"": false, `, "ca_root": "root.pem"`: true} {
		text := fmt.Sprintf(`{"mirrors": "mirrors.json", "state_dir": "state", "dns": {"zone": "dl.example.org", "nameservers": ["ns1.example.org"]},
			"health": {"reference_url": "https://www.example.org/"}, "http": {"listen": [":80"], "tls": {"listen": [":443"], "acme": {"names": ["a_b.example.org"], "agree": true%s}}}}`, root)
		if _, _, err := ParseServer("server.json", []byte(text)); (err == nil) != valid {
			t.Errorf("with %q: %v", root, err)
		}
	}
}
