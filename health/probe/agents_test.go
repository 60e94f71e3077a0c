package probe

import (
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

func TestRefusesByName(t *testing.T) {
	for status, want := range map[int]bool{0: false, 200: false, 301: false, 403: true, 404: true, 406: true, 429: false,
		408: false, 500: false, 503: false} {
		if got := refusesByName(status); got != want {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
	}
}

func TestCheckAgents(t *testing.T) {
	plain, _ := startNginx(t, testbed.NewAuthority(t))
	p := New(nil, time.Now)
	for address, want := range map[string]string{"127.0.0.16": "refuses wget (403) by the User-Agent", "127.0.0.7": ""} {
		tgt := target(t, health.HTTP, "http", poolHost, plain, address)
		if got := p.CheckAgents(within(t, 5*time.Second), tgt); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}
