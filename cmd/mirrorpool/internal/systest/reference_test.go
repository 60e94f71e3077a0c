package systest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// A traceMirror serves a trace at any path, and counts how often.
type traceMirror struct {
	trace  time.Time
	served atomic.Int64
}

func (m *traceMirror) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	m.served.Add(1)
	io.WriteString(w, fmt.Sprintln(m.trace.Unix()))
}

// TestMinorityAhead runs the program without a reference_url. Two of five mirrors carry a trace of 240 seconds from
// now, which must not make the other three stale.
func TestMinorityAhead(t *testing.T) {
	t.Parallel()
	c, where := newServerConfig(t)
	c.json["dns"] = map[string]any{"listen": "-"}
	c.set("health", "max_lag", "1ms")
	released := time.Now().Add(-time.Hour)
	var mirrors []*traceMirror
	var list []any
	for i := range 5 {
		m := &traceMirror{trace: released}
		if i < 2 {
			m.trace = time.Now().Add(240 * time.Second)
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.6.%d:0", i+1))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: m}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
		mirrors = append(mirrors, m)
		list = append(list, map[string]any{"url_prefix": "http://" + l.Addr().String() + "/", "weight": 10})
	}
	p := c.serve(t, where, map[string]any{"version": 1, "mirrors": list})
	const probes = 10 // three are enough for a change of state
	testbed.Eventually(t, "all mirrors have been probed several times", func() bool {
		for _, m := range mirrors {
			if m.served.Load() < probes {
				return false
			}
		}
		return true
	})
	status := p.status(t)
	for _, m := range status.Mirrors {
		if m.State != health.Up {
			t.Errorf("%s is %v: %s", m.URLPrefix, m.State, m.Reason)
		}
	}
	if r := status.Reference.Trace; r == nil || r.Unix() != released.Unix() {
		t.Errorf("the reference is %v, want %v", r, released)
	}
}
