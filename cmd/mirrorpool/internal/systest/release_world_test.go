package systest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

// newReleaseDay sets up an origin and mirrors with what was published before.
func newReleaseDay(t *testing.T, change func(i int, m *dayMirror)) *releaseDay {
	t.Helper()
	d := &releaseDay{
		t: t, origin: filepath.Join(t.TempDir(), "origin"), files: map[string]int64{}, had: map[string]time.Time{},
		used: map[string]time.Time{}, answers: map[string]int{},
	}
	for i := range 3 {
		d.add(fmt.Sprintf("old/%d.img", i), 100_000)
		d.add(fmt.Sprintf("archive/%d.img", i), 100_000)
	}
	d.write("project/trace", []byte("1700000000\n"))
	where := &program{}
	d.config, where = newServerConfig(t)
	d.program = where
	var addresses []string
	for i := range dayMirrors {
		addresses = append(addresses, fmt.Sprintf("127.0.61.%d", i+1))
	}
	web := testbed.FreePort(t, append(addresses, "127.0.61.100")...)
	rsync := testbed.FreePort(t, append(addresses, "127.0.61.100")...)
	d.source = "rsync://127.0.61.100:" + rsync + "/tails/"
	testbed.Rsync(t, "127.0.61.100:"+rsync, "[tails]\npath = "+d.origin+"\n")
	servers := nginxServer("127.0.61.100:"+web, d.origin)
	for i, address := range addresses {
		m := &dayMirror{
			name: fmt.Sprintf("m%d", i), address: address, dir: filepath.Join(t.TempDir(), "tree"), options: []string{"-rt", "--delete"},
			prefix: "http://" + net.JoinHostPort(address, web) + "/", rsyncURL: "rsync://" + net.JoinHostPort(address, rsync) + "/tails/",
		}
		change(i, m)
		d.mirrors = append(d.mirrors, m)
		if err := m.copy(d.source); err != nil {
			t.Fatal(err)
		}
		servers += nginxServer(net.JoinHostPort(address, web), m.dir)
		if m.rsyncURL != "" {
			testbed.Rsync(t, net.JoinHostPort(address, rsync),
				fmt.Sprintf("lock file = %s.lock\nmax connections = 1\n[tails]\npath = %s\n", m.dir, m.dir))
		}
	}
	testbed.Nginx(t, "error_log stderr crit;\n"+servers)
	testbed.AwaitPort(t, "127.0.61.100:"+web)
	d.config.json["dns"] = map[string]any{"listen": "-"}
	d.config.json["http"] = map[string]any{"listen": []string{where.web}, "trusted_proxies": []string{"127.0.0.1"}}
	d.config.json["health"] = map[string]any{
		"interval": "500ms", "timeout": "500ms", "reference_url": "http://127.0.61.100:" + web + "/project/trace",
	}
	d.config.json["files"] = map[string]any{"interval": dayInterval, "fallback": "http://127.0.61.100:" + web + "/"}
	d.config.json["state_dir"] = t.TempDir()
	return d
}

func nginxServer(listen, root string) string {
	return fmt.Sprintf("server { listen %s; root %s; }\n", listen, root)
}

// add publishes a file that clients ask for.
func (d *releaseDay) add(path string, size int) {
	content := make([]byte, size)
	random := rand.New(rand.NewPCG(uint64(size), uint64(len(path))))
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	d.write(path, content)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[path] = int64(size)
}

func (d *releaseDay) write(path string, content []byte) {
	d.t.Helper()
	name := filepath.Join(d.origin, path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		d.t.Fatal(err)
	}
	testbed.Put(d.t, name, content)
}

// publish publishes a release: its files, and then the trace.
func (d *releaseDay) publish() {
	for i := range 3 {
		path := fmt.Sprintf("stable/new-%d.img", i)
		d.add(path, dayFile)
		d.fresh = append(d.fresh, path)
	}
	d.write("project/trace", []byte("1700003600\n"))
	// rsync takes a file of the same size and second for the same, and one of the mirrors keeps no times.
	yesterday := time.Now().AddDate(0, 0, -1)
	if err := os.Chtimes(filepath.Join(d.origin, "project/trace"), yesterday, yesterday); err != nil {
		d.t.Fatal(err)
	}
}

// start starts the server, again if it was killed.
func (d *releaseDay) start() {
	var mirrors []any
	for _, m := range d.mirrors {
		entry := map[string]any{"url_prefix": m.prefix, "weight": 10}
		if m.rsyncURL != "" {
			entry["rsync_url"] = m.rsyncURL
		}
		mirrors = append(mirrors, entry)
	}
	where := d.program
	p := d.config.serve(d.t, where, map[string]any{"version": 1, "mirrors": mirrors})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.program = p
}

func (d *releaseDay) kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.program.cmd.Process.Signal(syscall.SIGKILL)
	<-d.program.exited
}

// copy copies what the origin has.
func (m *dayMirror) copy(source string, more ...string) error {
	args := append(append(append([]string{}, m.options...), more...), source, m.dir+"/")
	if out, err := exec.Command("rsync", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("rsync %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// copyAndAsk has the mirrors copy the release, one after the other begins, while clients ask, and does something else
// meanwhile. It returns when the last copy has ended.
func (d *releaseDay) copyAndAsk(meanwhile func()) (ended time.Time) {
	stop := make(chan struct{})
	var clients, copies sync.WaitGroup
	for i := range 4 {
		clients.Go(func() { d.ask(rand.New(rand.NewPCG(uint64(i), 7)), stop) })
	}
	clients.Go(func() { d.watch(stop) })
	for i, m := range d.mirrors {
		copies.Go(func() {
			time.Sleep(time.Duration(i) * 400 * time.Millisecond)
			if err := m.copy(d.source, "--bwlimit="+dayRate); err != nil {
				d.t.Error(err)
			}
		})
	}
	meanwhile()
	copies.Wait()
	ended = time.Now()
	for deadline := ended.Add(dayUsedIn); time.Now().Before(deadline) && !d.allUsed(); {
		time.Sleep(50 * time.Millisecond)
	}
	close(stop)
	clients.Wait()
	return ended
}

// allUsed reports whether clients were sent to each mirror for each new file, and are enough.
func (d *releaseDay) allUsed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.used) == len(d.mirrors)*len(d.fresh) && d.clients >= dayClients
}

// watch notes when each mirror has each new file.
func (d *releaseDay) watch(stop chan struct{}) {
	for {
		for _, m := range d.mirrors {
			for _, path := range d.fresh {
				if key := m.name + " " + path; m.has(path, dayFile) {
					d.mu.Lock()
					if d.had[key].IsZero() {
						d.had[key] = time.Now()
					}
					d.mu.Unlock()
				}
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *dayMirror) has(path string, size int64) bool {
	info, err := os.Stat(filepath.Join(m.dir, path))
	return err == nil && info.Size() == size
}

// ask asks for files as clients of many networks do, one after the other.
func (d *releaseDay) ask(random *rand.Rand, stop chan struct{}) {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	d.mu.Lock()
	var paths []string
	for path := range d.files {
		paths = append(paths, path)
	}
	web := d.program.web
	d.mu.Unlock()
	for {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		path := paths[random.IntN(len(paths))]
		req, err := http.NewRequest(http.MethodGet, "http://"+web+"/"+path, nil)
		if err != nil {
			d.t.Error(err)
			return
		}
		req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.%d.%d.1", 18+random.IntN(2), random.IntN(256)))
		if resp, err := client.Do(req); err == nil { // else the server is down
			resp.Body.Close()
			d.note(path, resp)
		}
	}
}

// strayed are clients that were sent to the fallback for a file that mirrors have.
const strayed = "fallback for an old file"

// note judges where a client is sent for a file.
func (d *releaseDay) note(path string, resp *http.Response) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients++
	location := resp.Header.Get("Location")
	for _, m := range d.mirrors {
		if location != m.prefix+path {
			continue
		}
		d.answers["mirror"]++
		key := m.name + " " + path
		if !m.has(path, d.files[path]) {
			d.wrong = append(d.wrong, key)
		} else if !d.had[key].IsZero() && d.used[key].IsZero() {
			d.used[key] = time.Now()
		}
		return
	}
	if location != "" {
		where := "fallback"
		if !slices.Contains(d.fresh, path) {
			where = strayed
		}
		d.answers[where]++
		return
	}
	d.answers[resp.Status]++
	if resp.StatusCode != http.StatusServiceUnavailable { // as while the server starts
		d.wrong = append(d.wrong, resp.Status+" for "+path)
	}
}

// judge fails the test if a client was sent to a mirror without the file, or a mirror with it was not used.
func (d *releaseDay) judge(ended time.Time) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	slowest, of := time.Duration(0), ""
	for key, had := range d.had {
		used, ok := d.used[key]
		if !ok {
			d.t.Errorf("%s: no client was sent there", key)
		} else if late := used.Sub(had); late > slowest {
			slowest, of = late, key
		}
	}
	d.t.Logf("%d clients: %v; a mirror was first used for a file after %v at most (%s)", d.clients, d.answers,
		slowest.Round(time.Millisecond), of)
	if d.clients < dayClients || len(d.wrong) > 0 {
		d.t.Errorf("%d clients, want %d; %d sent wrong: %.20q", d.clients, dayClients, len(d.wrong), d.wrong[:min(len(d.wrong), 20)])
	}
	// Where no rsync tells, mirrors are asked for a few files a second only, and clients wait for that a second only.
	if d.answers[strayed] > d.clients/100 {
		d.t.Errorf("%d of %d clients were sent to the fallback for old files", d.answers[strayed], d.clients)
	}
	if len(d.had) != len(d.mirrors)*len(d.fresh) || ended.IsZero() {
		d.t.Errorf("the mirrors have %d new files, want %d", len(d.had), len(d.mirrors)*len(d.fresh))
	}
}
