// Package demo runs the whole program on an embedded configuration, and three mirrors of its own.
package demo

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mirrorpool/cmd/mirrorpool/internal/daemon"
	"mirrorpool/config"
)

const (
	// The third mirror works for works, then fails for fails, over and over.
	works = 40 * time.Second
	fails = 20 * time.Second

	zone = "dl.example.org" // in demo.json
	file = "stable/tails-amd64-6.0/tails-amd64-6.0.img"
)

// weights are the weights of the mirrors, which are at 127.0.0.11 and up.
var weights = []int{30, 20, 10}

//go:embed demo.json
var configText []byte

// Options are where the demo listens.
type Options struct {
	DNS, HTTP, HTTPS, Admin   string
	MirrorPort, MirrorTLSPort uint16
	Version                   string // of the program
}

// Run runs three mirrors, and a daemon on them, until ctx ends. It prints what to try.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	cert, roots, err := selfMade(zone, time.Now())
	if err != nil {
		return err
	}
	mirrors, err := listenMirrors(ctx, o.MirrorPort, o.MirrorTLSPort, cert)
	if err != nil {
		return err
	}
	c, list, err := configure(o, mirrors)
	if err != nil {
		return err
	}
	log, level, err := daemon.NewLogger(c.Log, stderr)
	if err != nil {
		return err
	}
	d, err := daemon.New(ctx, daemon.Options{Config: c, List: list, Version: o.Version, Log: log, Level: level,
		Certificate: cert, Roots: roots})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, m := range mirrors {
		g.Go(func() error { return m.run(ctx) })
	}
	g.Go(func() error { return mirrors[len(mirrors)-1].failNowAndThen(ctx, log) })
	g.Go(func() error { return d.Run(ctx) })
	select {
	case <-ctx.Done():
	case <-d.Opened():
		printHints(stdout, d.Addrs(), len(mirrors))
	}
	return g.Wait()
}

// configure returns the configuration, and the list of the mirrors.
func configure(o Options, mirrors []*mirror) (*config.Server, []byte, error) {
	text := string(configText)
	for from, to := range map[string]string{
		"127.0.0.1:5300": o.DNS, "127.0.0.1:8080": o.HTTP, "127.0.0.1:8053": o.Admin,
		"MIRROR_PORT": fmt.Sprint(mirrors[0].addr().Port()),
	} {
		text = strings.ReplaceAll(text, from, to)
	}
	c, _, err := config.ParseServer("demo.json", []byte(text))
	if err != nil {
		return nil, nil, err
	}
	c.Mirrors = "the demo's own list"
	c.HTTP.TLS = &config.TLS{Listen: []string{o.HTTPS}}
	type entry struct {
		URLPrefix string `json:"url_prefix"`
		Weight    int    `json:"weight"`
		Name      string `json:"name"`
	}
	list := struct {
		Version int     `json:"version"`
		Mirrors []entry `json:"mirrors"`
	}{Version: 1}
	for i, m := range mirrors {
		list.Mirrors = append(list.Mirrors, entry{fmt.Sprintf("https://%s/tails/", addrPort(m.secure)), weights[i], fmt.Sprintf("m%d", i+1)})
	}
	data, err := json.Marshal(list)
	return c, data, err
}

// printHints says what to try.
func printHints(w io.Writer, at daemon.Addrs, mirrors int) {
	dns, web, secure := at.DNS[0].(*net.UDPAddr), at.HTTP[0], at.HTTP[1]
	fmt.Fprintf(w, `mirrorpool answers for %d mirrors; the last one works for %v and then fails for %v.
After about four minutes it counts as flapping, and stays down for longer: see health/README.md. All speak https with a
certificate that the demo has made for itself, so that curl needs -k. Try:

  dig @%s -p %d %s A +noall +answer
  dig @%s -p %d m1.%s A +short
  curl -sI http://%s/%s
  curl -skL https://%s/%s
  mirrorpool status --admin %s
  mirrorpool explain --admin %s --client 192.0.2.1 /%s

and in a browser

  http://%s/                 the status page
  http://%s/%s?mirrorlist

To have redirects follow the client's place, give geoip.city a database, such as iptoasn-country.mmdb of
ip-location-db, which is in the public domain (PDDL).

Ctrl-C stops it.
`, mirrors, works, fails, dns.IP, dns.Port, zone, dns.IP, dns.Port, zone, web, file, secure, file,
		at.Admin, at.Admin, file, at.Admin, web, file)
}
