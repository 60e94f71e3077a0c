package systest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// TestTicketsSurviveUpgrade has a client resume its session at the copy of the program that has taken over, and at one
// that begins after the other has ended. Without state_dir there is nothing to share.
func TestTicketsSurviveUpgrade(t *testing.T) {
	t.Parallel()
	authority := testbed.NewAuthority(t)
	cert, key := authority.IssueFiles(t, "dl.example.org", time.Now().Add(time.Hour))
	for _, state := range []string{"state", ""} {
		c, where := newServerConfig(t)
		https := "127.0.0.1:" + testbed.FreePort(t)
		c.json["state_dir"] = state
		c.set("health", "enabled", false)
		c.set("http", "tls", map[string]any{"cert": cert, "key": key, "listen": []string{https}})
		client := &tls.Config{ServerName: "dl.example.org", RootCAs: authority.Roots(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		old := c.serve(t, where, onePool)
		if resumes(t, https, client) {
			t.Error("the first session is a resumed one")
		}
		next := c.start(t, where)
		testbed.Eventually(t, "the next copy answers", func() bool { return strings.Contains(next.log.String(), `"msg":"answering"`) })
		old.stop(t)
		if got := resumes(t, https, client); got != (state != "") {
			t.Errorf("state_dir %q: the session resumes at the next copy: %v", state, got)
		}
		next.stop(t)
		last := c.start(t, where)
		last.waitReady(t)
		if got := resumes(t, https, client); got != (state != "") {
			t.Errorf("state_dir %q: the session resumes after a restart: %v", state, got)
		}
		last.stop(t)
	}
}

// resumes makes a request over TLS, and reports whether the session was a resumed one.
func resumes(t *testing.T, addr string, client *tls.Config) bool {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, client)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /x HTTP/1.1\r\nHost: dl.example.org\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil { // the ticket comes before it
		t.Fatal(err)
	}
	return conn.ConnectionState().DidResume
}
