package probe

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/health"
	"mirrorpool/testdata/testbed"
)

// makeChains has OpenSSL make an authority, an intermediate one, and certificates for mirrorHost, in a folder.
const makeChains = `set -e
printf 'basicConstraints=critical,CA:true\nkeyUsage=keyCertSign\n' >ca.ext
printf 'subjectAltName=DNS:%s\n' "$HOST" >leaf.ext
request() { openssl req -new -newkey rsa:$1 -nodes -keyout $2.key -out $2.csr -subj "/CN=$3"; }
sign() { openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -days 2 -extfile $3.ext "-$4" -out $1.pem; }
openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 2 -subj "/CN=Test Root" \
  -addext keyUsage=keyCertSign
request 2048 middle "Test Intermediate"
sign middle root ca sha256
request 2048 leaf "$HOST"
sign leaf middle leaf sha256
request 2048 sha1 "$HOST"
sign sha1 root leaf sha1
request 1024 short "$HOST"
sign short root leaf sha256
openssl req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.pem -days 2 -subj "/CN=$HOST" \
  -addext "subjectAltName=DNS:$HOST"
cat leaf.pem middle.pem >chain.pem
cp leaf.key chain.key
`

// TestTLSReasons: what is wrong with a mirror's certificates is named, so that its operators can mend it.
func TestTLSReasons(t *testing.T) {
	t.Parallel()
	testbed.Need(t, "openssl", "openssl")
	dir := t.TempDir()
	sh := exec.Command("sh", "-c", makeChains)
	sh.Dir, sh.Env = dir, append(os.Environ(), "HOST="+mirrorHost)
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	root, err := os.ReadFile(filepath.Join(dir, "root.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	for _, test := range []struct {
		name, want, warning string
		cause               health.Cause
	}{
		{name: "chain"},
		{name: "leaf", cause: health.CauseTrust,
			want: "tls: certificate is signed by an unknown authority: the server sends it without " +
				`the intermediate certificate of "Test Intermediate"`},
		{name: "sha1", cause: health.CauseTrust, want: `tls: certificate of "` + mirrorHost +
			`" is signed with SHA-1, which clients refuse`},
		{name: "own", cause: health.CauseTrust, want: "tls: certificate is signed by itself"},
		{name: "short", warning: `certificate of "` + mirrorHost +
			`" has an RSA key of 1024 bits, which clients with OpenSSL refuse (ee key too small)`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cert, err := tls.LoadX509KeyPair(filepath.Join(dir, test.name+".pem"), filepath.Join(dir, test.name+".key"))
			if err != nil {
				t.Fatal(err)
			}
			s := serve(t, "127.0.0.7", http.HandlerFunc(serveTrace), cert)
			o := New(roots, time.Now).Probe(within(t, 10*time.Second),
				target(t, health.HTTP, "https", mirrorHost, portOf(s.Listener), "127.0.0.7"))
			if o.Reason != test.want || (o.Result == health.Up) != (test.want == "") || o.TLSWarning != test.warning ||
				o.Cause != test.cause {
				t.Errorf("%v, %v, %q, warning %q; want %q, %q", o.Result, o.Cause, o.Reason, o.TLSWarning, test.want, test.warning)
			}
		})
	}
}

// TestHTTP2Only has a server that begins with HTTP/2, whatever it is asked.
func TestHTTP2Only(t *testing.T) {
	t.Parallel()
	l := serveRaw(t, "127.0.0.7", func(conn net.Conn) {
		if readRequest(conn) {
			conn.Write([]byte("\x00\x00\x12\x04\x00\x00\x00\x00\x00" + strings.Repeat("\x00", 18)))
		}
	})
	o := New(nil, time.Now).Probe(within(t, 5*time.Second), target(t, health.HTTP, "http", mirrorHost, portOf(l), "127.0.0.7"))
	if want := "request: the server speaks HTTP/2 only, which many clients do not: offer HTTP/1.1"; o.Reason != want {
		t.Errorf("%v, %q, want %q", o.Result, o.Reason, want)
	}
}
