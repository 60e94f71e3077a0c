package listen

import "testing"

func TestFamilyNetwork(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:53": "udp4", "0.0.0.0:53": "udp4", "[::]:53": "udp6", "[::1]:53": "udp6", ":53": "udp", "localhost:53": "udp",
	} {
		if got := familyNetwork("udp", addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
