package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// https measures redirects over TLS beside nginx with a constant target, and a bare net/http handler with one.
//
// The load comes from wrk (HTTP/1.1) and h2load (HTTP/2), over 16 connections that are kept open, and from another copy
// of this program, which makes new connections with full handshakes, 16 at once, and 1.
func https(args []string) error {
	flags := flag.NewFlagSet("https", flag.ExitOnError)
	rounds := flags.Int("rounds", 5, "how often each server is measured")
	duration := flags.Duration("duration", 2*time.Second, "how long, each time")
	useRSA := flags.Bool("rsa", false, "have a certificate with an RSA key of 2048 bits, instead of ECDSA")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mirrorpool-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeCertificate(dir, *useRSA); err != nil {
		return err
	}
	binary, err := build(dir)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	servers := []webServer{
		{"mirrorpool", func(port int) []string { return []string{binary, "serve", "--config", fmt.Sprintf("%d.json", port)} }},
		{"net/http", func(port int) []string { return []string{self, "bare", strconv.Itoa(port)} }},
		{"nginx", func(port int) []string { return []string{"nginx", "-p", dir, "-c", fmt.Sprintf("%d.conf", port)} }},
	}
	results := map[string]map[string][]float64{} // by load and server
	for range *rounds {
		for _, s := range servers {
			if err := s.measure(dir, *duration, results); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	fmt.Print("| for each second of CPU time | mirrorpool | / net/http | / nginx |\n|---|---:|---:|---:|\n")
	for _, l := range loads {
		r := results[l.name]
		fmt.Printf("| %s | %.0f | %s | %s |\n", l.name, median(r["mirrorpool"]), ratios(r["mirrorpool"], r["net/http"]),
			ratios(r["mirrorpool"], r["nginx"]))
	}
	return nil
}

// ratios returns the median of the ratios of what was measured in the same rounds, and their range.
func ratios(a, b []float64) string {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	slices.Sort(r)
	return fmt.Sprintf("%.2f (%.2f-%.2f)", r[len(r)/2], r[0], r[len(r)-1])
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// A webServer is one that can be measured. command runs it in the foreground.
type webServer struct {
	name    string
	command func(port int) []string
}

// loads are what servers are measured with. run returns how many requests were answered.
var loads = []struct {
	name string
	run  func(url, addr string, d time.Duration) (int, error)
}{
	{"requests, HTTP/1.1", func(url, _ string, d time.Duration) (int, error) {
		out, err := pinned("wrk", "-t1", "-c16", fmt.Sprintf("-d%.0f", d.Seconds()), url)
		if err == nil && figure(out, `Non-2xx or 3xx responses: (\d+)`) > 0 {
			err = errors.New("wrk got errors: " + out)
		}
		return figure(out, `(\d+) requests in`), err
	}},
	{"requests, HTTP/2", func(url, _ string, d time.Duration) (int, error) {
		out, err := pinned("h2load", "-t1", "-c16", "-m1", fmt.Sprintf("-D%.0f", d.Seconds()), url)
		return figure(out, `(\d+) 3xx`), err
	}},
	{"full handshakes", func(_, addr string, d time.Duration) (int, error) { return ownLoad(addr, 16, d) }},
	{"full handshakes, one at a time", func(_, addr string, d time.Duration) (int, error) { return ownLoad(addr, 1, d) }},
}

// ownLoad runs handshakes in a process of its own.
func ownLoad(addr string, clients int, d time.Duration) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := pinned(self, "handshakes", addr, strconv.Itoa(clients), d.String())
	return figure(out, `(\d+) handshakes`), err
}

// pinned runs a command on the second CPU.
func pinned(command ...string) (string, error) {
	out, err := exec.Command("taskset", append([]string{"-c", "1"}, command...)...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", command[0], err, out)
	}
	return string(out), err
}

// handshakes makes connections to an address, some at once, for a time, and prints how many. The keys are agreed on by
// X25519, which all three servers have; X25519MLKEM768, which is what those in Go prefer, takes them more.
func handshakes(args []string) error {
	if len(args) != 3 {
		return errors.New("want an address, a number of clients and a time")
	}
	clients, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	config := &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}}
	var done atomic.Int64
	var g errgroup.Group
	for range clients {
		g.Go(func() error {
			for end := time.Now().Add(d); time.Now().Before(end); done.Add(1) {
				conn, err := tls.Dial("tcp", args[0], config)
				if err != nil {
					return err
				}
				conn.Close()
			}
			return nil
		})
	}
	err = g.Wait()
	fmt.Printf("%d handshakes\n", done.Load())
	return err
}

func (s webServer) measure(dir string, d time.Duration, results map[string]map[string][]float64) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	if err := writeWebConfig(dir, port); err != nil {
		return err
	}
	p, err := start(s.command(port), dir)
	if err != nil {
		return err
	}
	defer p.stop()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := await(startTime, 20*time.Millisecond, func() error {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
		}
		return err
	}); err != nil {
		return fmt.Errorf("%w; it says:\n%s", err, p.log())
	}
	for _, l := range loads {
		url := "https://" + addr + "/stable/image.iso"
		if _, err := l.run(url, addr, time.Second); err != nil { // warm up
			return err
		}
		before := p.cpuTime()
		n, err := l.run(url, addr, d)
		if err != nil {
			return err
		}
		if results[l.name] == nil {
			results[l.name] = map[string][]float64{}
		}
		results[l.name][s.name] = append(results[l.name][s.name], float64(n)/(p.cpuTime()-before).Seconds())
	}
	return nil
}

func writeWebConfig(dir string, port int) error {
	at := site{dir: dir, port: port, mirrors: 6}
	if err := at.writeMirrorpool(); err != nil {
		return err
	}
	if err := at.write(fmt.Sprintf("%d.json", port), `{"dns": {"listen": "-", "zone": "dl.example.org", "nameservers": ["ns1.example.org"]},
		"http": {"listen": ["127.0.0.1:%d"], "tls": {"cert": "cert.pem", "key": "key.pem"}},
		"admin": {"listen": "-"}, "health": {"enabled": false}, "files": {"on_demand": false}}`, port); err != nil {
		return err
	}
	return at.write(fmt.Sprintf("%d.conf", port), `daemon off; worker_processes 1; pid %[1]d.pid; error_log stderr error;
events { worker_connections 512; }
http {
	access_log off; keepalive_requests 1000000000; ssl_protocols TLSv1.2 TLSv1.3;
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	server {
		listen 127.0.0.1:%[1]d ssl http2;
		ssl_certificate cert.pem; ssl_certificate_key key.pem;
		location / { return 302 https://m0.example.org/tails$uri; }
	}
}`, port)
}

// bare is a server that redirects all requests to one place, with nothing but net/http.
func bare(port string) error {
	return http.ListenAndServeTLS("127.0.0.1:"+port, "cert.pem", "key.pem", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://m0.example.org/tails"+r.URL.Path)
		w.WriteHeader(http.StatusFound)
	}))
}

func writeCertificate(dir string, useRSA bool) error {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	var public, private any
	if useRSA {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return err
		}
		public, private = &key.PublicKey, key
	} else {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		public, private = &key.PublicKey, key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600)
}

// build builds mirrorpool, and returns where it is.
func build(dir string) (string, error) {
	binary := filepath.Join(dir, "mirrorpool")
	command := exec.Command("go", "build", "-o", binary, "./cmd/mirrorpool")
	command.Env = append(os.Environ(), "CGO_ENABLED=0") // as in the package and the image
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return binary, nil
}
