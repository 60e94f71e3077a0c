package testbed

import "fmt"

// ManyMirrors is a list with all keys that are usual. Two editions differ in each tenth mirror.
func ManyMirrors(mirrors, edition int, named bool) []byte {
	data := []byte(`{"version": 1, "mirrors": [`)
	for i := range mirrors {
		if i > 0 {
			data = append(data, ',')
		}
		host, weight := fmt.Sprintf("m%d", i), i%100+1
		if i%10 == 0 {
			host, weight = fmt.Sprintf("m%d-%d", i, edition), edition+1
		}
		data = fmt.Appendf(data, "\n"+`{"url_prefix": "https://%s.example.net/tails/",`+
			` "rsync_url": "rsync://%s.example.net/tails/", "weight": %d,`+
			` "email": "ops@example.net", "notes": "some notes", "location": {"country": "DE"},`+
			` "dns": {"addresses": ["10.%d.%d.%d", "2001:db8::%x"]}`, host, host, weight, i>>16, i>>8&255, i&255, i+1)
		if named {
			data = fmt.Appendf(data, `, "name": %q`, host)
		}
		data = append(data, '}')
	}
	return append(data, "]}"...)
}
