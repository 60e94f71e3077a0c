package certificates

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestLargeResponses has an authority answer with more than any response has, plain and compressed: it is not read. A
// page that is no directory makes no long line in the log.
func TestLargeResponses(t *testing.T) {
	t.Parallel()
	bomb := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write([]byte(text))
		w.Close()
		return b.Bytes()
	}
	directory := `{"newNonce": "https://acme.example.org/nonce", "newAccount": "https://acme.example.org/account",
		"newOrder": "https://acme.example.org/order"}`
	large := directory + strings.Repeat(" ", 16<<20)
	for name, test := range map[string]struct {
		status int
		body   []byte
		gzip   bool
		want   string // in the error; "": none
	}{
		"small":               {http.StatusOK, []byte(directory), false, ""},
		"small, compressed":   {http.StatusOK, bomb(directory), true, ""},
		"large":               {http.StatusOK, []byte(large), false, "more than 1048576 bytes"},
		"large, compressed":   {http.StatusOK, bomb(large), true, "more than 1048576 bytes"},
		"a long page instead": {http.StatusNotFound, []byte(strings.Repeat("page ", 100<<10)), false, "HTTP 404"},
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if test.status != http.StatusOK {
				w.Header().Set("Content-Type", "text/html")
			}
			if test.gzip {
				w.Header().Set("Content-Encoding", "gzip")
			}
			w.WriteHeader(test.status)
			w.Write(test.body)
		}))
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		i := &issuer{directory: server.URL + "/dir", client: newClient(roots)}
		err := i.readDirectory(t.Context())
		server.Close()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %.300v, want %q", name, err, test.want)
		}
		if err != nil && len(reason("", err)) > 2*maxText {
			t.Errorf("%s: an error of %d bytes", name, len(reason("", err)))
		}
	}
}
