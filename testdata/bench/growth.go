package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// growth measures what large pools take: the time to start, memory, and answers during a reload.
//
// The mirrors are addresses of loopback, where this program answers all checks.
func growth(args []string) error {
	flags := flag.NewFlagSet("growth", flag.ExitOnError)
	sizes := flags.String("mirrors", "30,1000,10000", "sizes of the pool")
	gets := flags.Int("gets", 100, "how often each page is read")
	reloads := flags.Int("reloads", 10, "how many reloads there are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mirrorpool-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := build(dir)
	if err != nil {
		return err
	}
	fmt.Print("| mirrors | start | RSS, checked | after pages | after scrapes | after status | peak | reload | slowest answer in it |\n" +
		"|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for size := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		row, err := grow(binary, filepath.Join(dir, size), n, *gets, *reloads)
		if err != nil {
			return fmt.Errorf("%d mirrors: %w", n, err)
		}
		fmt.Println(row)
	}
	return nil
}

// grow measures one pool, and returns the line of the table.
func grow(binary, dir string, mirrors, gets, reloads int) (row string, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	p := pool{dir: dir, mirrors: mirrors, web: &mirrorWeb{seen: map[string]bool{}}}
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		return "", err
	}
	web := http.Server{Handler: p.web}
	go web.Serve(listener)
	defer web.Close()
	p.webPort = listener.Addr().(*net.TCPAddr).Port
	if err := p.configure(); err != nil {
		return "", err
	}
	// The first start waits for the checks; what is timed is a start with their verdicts.
	server, err := p.start(binary)
	if err != nil {
		return "", err
	}
	err = p.awaitChecked()
	stop(server)
	if err != nil {
		return "", err
	}
	p.web.forget()
	begin := time.Now()
	if server, err = p.start(binary); err != nil {
		return "", err
	}
	defer stop(server)
	row = fmt.Sprintf("| %d | %.2f s ", mirrors, time.Since(begin).Seconds())
	return p.use(server.Process.Pid, row, gets, reloads)
}

// use measures a server that has just started, and adds to a line of the table.
func (p *pool) use(pid int, row string, gets, reloads int) (string, error) {
	if err := p.awaitChecked(); err != nil {
		return "", err
	}
	row += fmt.Sprintf("| %s ", memory(pid, "VmRSS"))
	for _, page := range []string{"/", "/metrics", "/api/v1/status"} {
		for range gets {
			if err := p.get(page); err != nil {
				return "", err
			}
		}
		row += fmt.Sprintf("| %s ", memory(pid, "VmRSS"))
	}
	row += fmt.Sprintf("| %s ", memory(pid, "VmHWM"))
	took, slowest, err := p.reload(reloads)
	return row + fmt.Sprintf("| %.2f s | %.1f ms |", took.Seconds(), float64(slowest.Microseconds())/1000), err
}

// A mirrorWeb answers checks as mirrors that carry what is published.
type mirrorWeb struct {
	mu   sync.Mutex
	seen map[string]bool // address and host
}

func (w *mirrorWeb) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.seen[fmt.Sprint(r.Context().Value(http.LocalAddrContextKey), r.Host)] = true
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "text/plain")
	http.ServeContent(rw, r, "", time.Time{}, strings.NewReader(strconv.FormatInt(published, 10)+"\n"))
}

func (w *mirrorWeb) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
}

// checked is how many mirrors were checked, once for each role.
func (w *mirrorWeb) checked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// published is when the mirrors' content was.
var published = time.Now().Add(-time.Hour).Unix()

// A pool is the configuration of one run.
type pool struct {
	dir                          string
	mirrors                      int
	web                          *mirrorWeb
	webPort                      int
	dnsPort, httpPort, adminPort int
}

func (p *pool) configure() error {
	for _, port := range []*int{&p.dnsPort, &p.httpPort, &p.adminPort} {
		free, err := freePort()
		if err != nil {
			return err
		}
		*port = free
	}
	if err := p.writeMirrors(0); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, "mirrorpool.json"), fmt.Appendf(nil, `{
  "mirrors_refresh": "1h", "mirrors_guard": 0, "state_dir": "state",
  "dns": {"listen": ["127.0.0.1:%d"], "zone": "dl.example.org", "nameservers": ["ns1.example.org"]},
  "http": {"listen": ["127.0.0.1:%d"]}, "admin": {"listen": "127.0.0.1:%d"}, "log": {"level": "error"},
  "health": {"dns_url": "http://{zone}:%d/tails/project/trace"}}`, p.dnsPort, p.httpPort, p.adminPort, p.webPort), 0o644)
}

// writeMirrors writes the list. Editions of it differ in a tenth of the mirrors.
func (p *pool) writeMirrors(edition int) error {
	var text strings.Builder
	text.WriteString(`{"version": 1, "mirrors": [`)
	for i := range p.mirrors {
		host, comma := fmt.Sprintf("m%d", i), ","
		if i == 0 {
			comma = ""
		}
		if i%10 == 0 {
			host = fmt.Sprintf("m%d-%d", i, edition)
		}
		fmt.Fprintf(&text, "%s\n"+`{"url_prefix": "http://%s.example.net:%d/tails/", "weight": %d, "email": "ops@example.net",`+
			` "notes": "some notes", "location": {"country": "DE"}, "dns": {"addresses": ["127.%d.%d.%d"]}}`,
			comma, host, p.webPort, i%100+1, 1+i>>16, i>>8&255, i&255)
	}
	text.WriteString("]}\n")
	path := filepath.Join(p.dir, "mirrors.json")
	if err := os.WriteFile(path+".new", []byte(text.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// ask asks for addresses of the pool, and returns how long the answer took.
func (p *pool) ask() (time.Duration, error) {
	req := new(dns.Msg)
	req.SetQuestion("dl.example.org.", dns.TypeA)
	client := dns.Client{Timeout: 100 * time.Millisecond}
	resp, took, err := client.Exchange(req, fmt.Sprintf("127.0.0.1:%d", p.dnsPort))
	if err == nil && len(resp.Answer) == 0 {
		err = errors.New("a response without an answer: " + dns.RcodeToString[resp.Rcode])
	}
	return took, err
}

// start starts a server, and waits for its first answer.
func (p *pool) start(binary string) (*exec.Cmd, error) {
	server := exec.Command(binary, "serve", "--config", "mirrorpool.json")
	server.Dir, server.Stderr = p.dir, os.Stderr
	if err := server.Start(); err != nil {
		return nil, err
	}
	if err := await(time.Minute, time.Millisecond, func() error { _, err := p.ask(); return err }); err != nil {
		stop(server)
		return nil, err
	}
	return server, nil
}

func stop(server *exec.Cmd) {
	server.Process.Signal(syscall.SIGTERM)
	server.Wait()
}

// awaitChecked waits until all mirrors were checked in both roles.
func (p *pool) awaitChecked() error {
	return await(3*time.Minute, 100*time.Millisecond, func() error {
		if n := p.web.checked(); n < 2*p.mirrors {
			return fmt.Errorf("%d mirrors were checked in both roles", n/2)
		}
		return nil
	})
}

// await calls a function until it returns nil.
func await(limit, pause time.Duration, try func() error) (err error) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(pause) {
		if err = try(); err == nil {
			return nil
		}
	}
	return err
}

func (p *pool) get(page string) error {
	_, err := p.read(page)
	return err
}

func (p *pool) read(page string) ([]byte, error) {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", p.adminPort, page))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", page, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// reload puts new editions in force, and asks all the time. It returns the median time of a reload, and the median of
// the slowest answers.
func (p *pool) reload(times int) (took, slowest time.Duration, err error) {
	var tooks, worsts []time.Duration
	for i := range times {
		if err := p.writeMirrors(i + 1); err != nil {
			return 0, 0, err
		}
		client, err := startAsker(p.dnsPort)
		if err != nil {
			return 0, 0, err
		}
		begin := time.Now()
		resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/api/v1/reload", p.adminPort), "application/json", nil)
		if err == nil {
			resp.Body.Close()
		}
		tooks = append(tooks, time.Since(begin))
		time.Sleep(300 * time.Millisecond) // what a reload leaves to be done is part of it
		waits, stopErr := client.stop()
		if err := errors.Join(err, stopErr); err != nil {
			return 0, 0, err
		}
		worsts = append(worsts, slices.Max(waits))
	}
	slices.Sort(tooks)
	slices.Sort(worsts)
	return tooks[times/2], worsts[times/2], nil
}

// memory reads a field of /proc/PID/status.
func memory(pid int, field string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(line, ":"); key == field {
			n, _ := strconv.Atoi(strings.Fields(value)[0])
			return fmt.Sprintf("%.1f MiB", float64(n)/1024)
		}
	}
	return "?"
}
