package systest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// A testMirror is a real web server at an address of its own, with a tree like those of Tails' mirrors.
type testMirror struct {
	address string
	root    string
	hosts   []string // that it serves; none: all
	tls     *testTLS // nil: none
	refuses string   // a User-Agent that gets 503 from nginx; empty: none
	stop    func()
}

// testTLS makes a mirror redirect from http to https at a name of its own, as many do.
type testTLS struct {
	name      string
	port      string
	cert, key string // files
}

// newTree makes a tree like that of a mirror of Tails.
func newTree(t testing.TB, trace time.Time) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"tails/project/trace":                              fmt.Sprintln(trace.Unix()),
		"tails/stable/tails-amd64-6.0/tails-amd64-6.0.img": "the image\n",
		"tails/stable/tails-amd64-6.0/tails-amd64-6.0.iso": "the other image\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The user that nginx runs as has to get through to it.
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// start starts the mirror at port, with nginx if it is installed. It returns once the mirror accepts
// connections.
func (m *testMirror) start(t testing.TB, port string) {
	t.Helper()
	if _, ok := testbed.Find("nginx"); ok {
		m.startNginx(t, port)
	} else {
		m.startGo(t, port)
	}
	t.Cleanup(m.stop)
	testbed.Eventually(t, "the mirror at "+m.address+" accepts connections", func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort(m.address, port))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

func (m *testMirror) startNginx(t testing.TB, port string) {
	t.Helper()
	names := strings.Join(m.hosts, " ")
	server := fmt.Sprintf("server { listen %s:%s; server_name %s; root %s; }\n", m.address, port, names, m.root)
	if len(m.hosts) == 0 {
		server = fmt.Sprintf("server { listen %s:%s; root %s; %s }\n", m.address, port, m.root, m.refusal())
	} else {
		server = fmt.Sprintf("server { listen %s:%s default_server; return 404; }\n", m.address, port) + server
	}
	if m.tls != nil {
		server = fmt.Sprintf("server { listen %s:%s; return 301 https://%s:%s$request_uri; }\n", m.address, port, m.tls.name,
			m.tls.port) +
			fmt.Sprintf("server { listen %s:%s ssl; server_name %s; root %s; ssl_certificate %s; ssl_certificate_key %s; }\n",
				m.address, m.tls.port, m.tls.name, m.root, m.tls.cert, m.tls.key)
	}
	m.stop = testbed.Nginx(t, server)
}

// refusal makes nginx refuse requests.
func (m *testMirror) refusal() string {
	if m.refuses == "" {
		return ""
	}
	return fmt.Sprintf("if ($http_user_agent = %q) { return 503; }", m.refuses)
}

// startGo serves the same with net/http.
func (m *testMirror) startGo(t testing.TB, port string) {
	t.Helper()
	files := http.FileServer(http.Dir(m.root))
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		switch {
		case m.tls != nil:
			http.Redirect(w, r, "https://"+net.JoinHostPort(m.tls.name, m.tls.port)+r.URL.Path, http.StatusMovedPermanently)
		case len(m.hosts) > 0 && !strings.Contains(" "+strings.Join(m.hosts, " ")+" ", " "+host+" "):
			http.NotFound(w, r)
		default:
			files.ServeHTTP(w, r)
		}
	})
	var servers []*http.Server
	listen := func(port string, h http.Handler, serve func(*http.Server, net.Listener) error) {
		l, err := net.Listen("tcp", net.JoinHostPort(m.address, port))
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: h}
		servers = append(servers, s)
		go serve(s, l)
	}
	listen(port, plain, (*http.Server).Serve)
	if m.tls != nil {
		listen(m.tls.port, files, func(s *http.Server, l net.Listener) error { return s.ServeTLS(l, m.tls.cert, m.tls.key) })
	}
	m.stop = func() {
		for _, s := range servers {
			s.Close()
		}
	}
}
