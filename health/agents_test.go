package health

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefusesByName(t *testing.T) {
	for status, want := range map[int]bool{0: false, 200: false, 301: false, 403: true, 404: true, 406: true, 429: false, 408: false, 500: false, 503: false} {
		if got := refusesByName(status); got != want {
			t.Errorf("%d: %v, want %v", status, got, want)
		}
	}
}

// TestAgents: a mirror that refuses clients by name is warned of, and stays up; it is asked under their names once an hour.
func TestAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards both
		asked := map[string]int{}
		refuse := "Wget curl"
		count := func(client string) int {
			mu.Lock()
			defer mu.Unlock()
			return asked[client]
		}
		b := newBed(t, func(o *Options) {
			o.CheckAgents = true
			o.Settings.UserAgent = "monitor"
		})
		b.set("192.0.2.1/http", func(_ context.Context, target Target) Observation {
			mu.Lock()
			defer mu.Unlock()
			client, _, _ := strings.Cut(target.UserAgent, "/")
			asked[client]++
			if strings.Contains(refuse, client) {
				return Observation{Result: Down, Status: http.StatusForbidden, Reason: "status: 403 Forbidden, want 200"}
			}
			return Observation{Result: Up, Trace: traceTime, Status: http.StatusOK}
		})
		b.SetPool(pool(t, "a.example.net=192.0.2.1"))
		defer b.start()()
		<-b.Swept()
		warning := func() string {
			for _, e := range b.Report().Mirrors["http://a.example.net/tails/"].Endpoints {
				if e.Role == HTTP {
					return e.Warning
				}
			}
			return ""
		}
		if want := "refuses wget (403) and curl (403) by the User-Agent"; warning() != want {
			t.Errorf("warning %q, want %q", warning(), want)
		}
		wait(50 * time.Minute)
		if v := b.verdictAt("192.0.2.1", HTTP); v.State != Up || count("Wget") != 1 || count("curl") != 1 || count("monitor") < 90 {
			t.Errorf("after 50 minutes: %v, asked as wget %d times", v.State, count("Wget"))
		}
		mu.Lock()
		refuse = ""
		mu.Unlock()
		wait(20 * time.Minute)
		if warning() != "" || count("Wget") != 2 {
			t.Errorf("after it has changed its mind: warning %q, asked as wget %d times", warning(), count("Wget"))
		}
		if n := b.logs.FilterMessage("mirror refuses download clients").Len(); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
