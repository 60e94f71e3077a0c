//go:build linux

package systest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// bootScript makes a machine out of namespaces, and boots a systemd of its own in it. What is written to the folders
// of programs, configuration, state and to REPO is seen in there only, and the kernel's settings cannot be changed. Of
// systemd's own units there are those that mirrorpool's build on.
const bootScript = `
mount --make-rprivate /
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
ip link set lo up
mount -t tmpfs tmpfs /run
for dir in /etc /usr /var "$REPO"; do
	mkdir -p "/run/over$dir/new" "/run/over$dir/work"
	mount -t overlay overlay -o "lowerdir=$dir,upperdir=/run/over$dir/new,workdir=/run/over$dir/work" "$dir"
done
mount -t tmpfs tmpfs /etc/systemd/system
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /run/units
for unit in sysinit.target basic.target sockets.target multi-user.target shutdown.target network-online.target \
	systemd-journald.service systemd-journald.socket; do
	cp "/lib/systemd/system/$unit" /run/units/
done
ln -s /usr/lib/systemd/system/mirrorpool.service /usr/lib/systemd/system/mirrorpool.socket /run/units/ # a package's
printf '[Journal]\nStorage=volatile\n' > /etc/systemd/journald.conf
exec env -i container=test PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units \
	/lib/systemd/systemd --system --unit=basic.target --log-target=null
`

// A machine has a systemd of its own, and a network of its own.
type machine struct {
	t    *testing.T
	init string // process id of its systemd, as seen from here
	repo string
}

// boot boots a machine, which is there until the test ends.
func boot(t *testing.T) *machine {
	t.Helper()
	for _, program := range [][2]string{{"systemctl", "systemd"}, {"adduser", "adduser"}, {"ip", "iproute2"},
		{"unshare", "util-linux"}} {
		testbed.Need(t, program[0], program[1])
	}
	separate := []string{"--net", "--uts", "--ipc", "--pid", "--mount", "--cgroup", "--mount-proc", "--fork", "--kill-child"}
	if out, err := exec.Command("unshare", append(slices.Clone(separate), "true")...).CombinedOutput(); err != nil {
		t.Skipf("there cannot be namespaces of our own here: %v: %s", err, out)
	}
	repo := testbed.Root(t)
	var log testbed.Log
	cmd := exec.Command("unshare", append(separate, "sh", "-e", "-c", bootScript)...)
	cmd.Env = append(os.Environ(), "REPO="+repo)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, repo: repo}
	t.Cleanup(func() {
		// has its own /tmp removed
		exec.Command("nsenter", "--target", m.init, "--all", "systemctl", "stop", "mirrorpool.socket", "mirrorpool.service").Run()
		cmd.Process.Kill()
		cmd.Wait()
	})
	testbed.Eventually(t, "systemd has booted", func() bool {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil || len(bytes.Fields(children)) == 0 {
			return false
		}
		m.init = string(bytes.Fields(children)[0])
		_, err = m.try("systemctl is-active --quiet basic.target && systemctl start systemd-journald.service")
		return err == nil
	})
	return m
}

// try runs a script of the shell on the machine, in the repository, up to the first command that fails.
func (m *machine) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", m.init, "--all", "sh", "-e", "-c",
		"export PATH=/usr/local/bin:$PATH\ncd "+m.repo+"\n"+script)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// sh is try for what must not fail.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		logs, _ := m.try("systemctl status --no-pager mirrorpool.socket mirrorpool.service; journalctl --no-pager -n 30")
		m.t.Fatalf("%v\n%s\n%s\n%s", err, script, out, logs)
	}
	return out
}

// write writes a file on the machine.
func (m *machine) write(path, text string) {
	m.t.Helper()
	m.sh("cat > " + path + " <<'END'\n" + text + "\nEND")
}

func (m *machine) inside(f func() error) error { return inNetwork("/proc/"+m.init+"/ns/net", f) }

func (m *machine) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.inside(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// addresses asks for the pool's addresses, and waits long for an answer, but does not ask twice.
func (m *machine) addresses(network, server string) ([]string, error) {
	conn, err := m.dial(m.t.Context(), network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	client := dns.Client{Net: network, Timeout: 20 * time.Second}
	resp, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion("dl.example.org.", dns.TypeA), &dns.Conn{Conn: conn})
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, rr := range resp.Answer {
		addrs = append(addrs, rr.(*dns.A).A.String())
	}
	slices.Sort(addrs)
	return addrs, nil
}

// redirect asks where to find a file, over a connection of its own.
func (m *machine) redirect(server string) (string, error) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DialContext: m.dial, DisableKeepAlives: true},
		CheckRedirect: noRedirect}
	resp, err := client.Get("http://" + server + "/x")
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		return "", errors.New(resp.Status)
	}
	return resp.Header.Get("Location"), nil
}

// readmeShell returns the commands that README.md, here, gives in a section.
func readmeShell(t *testing.T, section string) string {
	t.Helper()
	readme, err := os.ReadFile(testbed.Root(t, "cmd/mirrorpool/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "\n## "+section+"\n")
	_, block, _ := strings.Cut(after, "\n```sh\n")
	block, _, found := strings.Cut(block, "\n```\n")
	if !found {
		t.Fatalf("README.md gives no commands at %q", section)
	}
	return block
}

// TestUnits installs mirrorpool under a real systemd, by the commands of README.md, and has it started, reloaded,
// restarted, killed and stopped. Clients ask all the while, and none that begins while the program is there, or is to
// come, is left without an answer.
func TestUnits(t *testing.T) {
	testbed.SkipLong(t)
	if os.Geteuid() != 0 {
		t.Skip("only root may make a machine of namespaces")
	}
	m := boot(t)
	m.startMirrors()
	list := machineMirrors
	m.sh(readmeShell(t, "Install"))
	m.write("/etc/mirrorpool/mirrors.json", list(10))
	m.checkMirrorsOften()
	m.sh(readmeShell(t, "Configure"))

	for _, server := range []string{"127.0.0.1", "[::1]"} {
		for _, network := range []string{"udp", "tcp"} {
			if addrs, err := m.addresses(network, server+":53"); err != nil || !slices.Equal(addrs, []string{"127.0.0.11", "127.0.0.12"}) {
				t.Errorf("%s over %s: %v, %v", server, network, addrs, err)
			}
		}
		if to, err := m.redirect(server + ":80"); server == "127.0.0.1" && (err != nil || !strings.HasSuffix(to, ":8080/tails/x")) {
			t.Errorf("%s: %q, %v", server, to, err)
		}
	}
	m.checkPrivileges()
	m.checkReaderThreads()
	m.sh("ip address add 192.0.2.1/32 dev lo")
	testbed.Eventually(t, "this host gets the status under its own address", func() bool {
		return strings.Contains(m.sh("dig @192.0.2.1 _status.dl.example.org TXT +short"), "panic no")
	})

	stop := m.clients()
	m.write("/etc/mirrorpool/mirrors.json", list(0))
	m.sh("systemctl reload mirrorpool")
	testbed.Eventually(t, "the list is read again", func() bool {
		addrs, err := m.addresses("udp", "127.0.0.1:53")
		return err == nil && slices.Equal(addrs, []string{"127.0.0.11"})
	})
	before := m.property("MainPID")
	m.sh("systemctl restart mirrorpool")
	restarted := m.property("MainPID")
	if restarted == before {
		t.Errorf("after a restart it still is process %s", before)
	}
	if asked := stop(); asked < 5 {
		t.Errorf("clients have asked only %d times", asked)
	}

	m.sh("systemctl kill --signal=SIGKILL mirrorpool")
	testbed.Eventually(t, "it is gone", func() bool { return m.property("MainPID") != restarted })
	stop = m.clients() // waiting for the next one
	testbed.Eventually(t, "systemd has started it again", func() bool {
		return m.property("ActiveState") == "active" && m.property("NRestarts") == "1"
	})
	if asked := stop(); asked < 1 {
		t.Error("clients have not asked")
	}
	m.sh("systemctl stop mirrorpool.socket mirrorpool.service")
	if result, code := m.property("Result"), m.property("ExecMainStatus"); result != "success" || code != "0" {
		t.Errorf("it has ended with %s, exit code %s", result, code)
	}
	if out := m.sh("journalctl --no-pager --unit mirrorpool"); !strings.Contains(out, "answering") {
		t.Errorf("the journal does not tell that it answers:\n%s", out)
	}

	m.checkRecovery()

	// It opens the sockets for DNS itself, as README.md says where one CPU is not enough.
	m.sh("sed -i '/^Listen.*:53$/d' /etc/systemd/system/mirrorpool.socket; mkdir /etc/systemd/system/mirrorpool.service.d")
	m.write("/etc/systemd/system/mirrorpool.service.d/own.conf",
		"[Service]\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nPrivateUsers=no")
	m.sh("systemctl daemon-reload; systemctl start mirrorpool.socket mirrorpool.service")
	if addrs, err := m.addresses("udp", "127.0.0.1:53"); err != nil || !slices.Equal(addrs, []string{"127.0.0.11"}) {
		t.Errorf("over sockets of its own: %v, %v", addrs, err)
	}
	if sockets := m.sh("ss --udp --listening --no-header --numeric --processes"); strings.Count(sockets,
		"0.0.0.0:53 ") != strings.Count(sockets, `[::]:53 `) ||
		strings.Contains(sockets, `"systemd"`) || !strings.Contains(sockets, `0.0.0.0:53 `) {
		t.Errorf("its sockets are\n%s", sockets)
	}
}

// startMirrors starts the two mirrors that machineMirrors lists.
func (m *machine) startMirrors() {
	m.t.Helper()
	tree := newTree(m.t, time.Now())
	for _, address := range []string{"127.0.0.11", "127.0.0.12"} {
		var l net.Listener
		err := m.inside(func() (err error) {
			l, err = net.Listen("tcp4", address+":8080")
			return err
		})
		if err != nil {
			m.t.Fatal(err)
		}
		mirror := &http.Server{Handler: http.FileServer(http.Dir(tree))}
		go mirror.Serve(l)
		m.t.Cleanup(func() { mirror.Close() })
	}
}

// machineMirrors is a list of two mirrors, the second of which has a weight.
func machineMirrors(second int) string {
	return fmt.Sprintf(`{"version": 1, "mirrors": [
		{"url_prefix": "http://127.0.0.11:8080/tails/", "weight": 10},
		{"url_prefix": "http://127.0.0.12:8080/tails/", "weight": %d}]}`, second)
}

// checkMirrorsOften edits the installed configuration for these mirrors.
func (m *machine) checkMirrorsOften() {
	m.t.Helper()
	m.write("/etc/mirrorpool/mirrorpool.json", m.edited(func(c map[string]any) {
		c["health"] = map[string]any{"dns_url": "http://{zone}:8080/tails/project/trace", "interval": "1s", "timeout": "1s"}
	}))
}

// checkReaderThreads looks for threads whose time slices are short, as readers of sockets have them on a kernel that
// has slices: the unit has to allow it.
func (m *machine) checkReaderThreads() {
	m.t.Helper()
	own, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	threads, err := filepath.Glob(m.processFolder(m.property("MainPID")) + "/task/*")
	if err != nil || len(threads) == 0 {
		m.t.Fatalf("the service has the threads %v, %v", threads, err)
	}
	short := 0
	for _, thread := range threads {
		id, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			m.t.Fatal(err)
		}
		if attr, err := unix.SchedGetAttr(id, 0); err == nil && attr.Runtime < own.Runtime {
			short++
		}
	}
	if own.Runtime > 0 && short == 0 {
		m.t.Errorf("none of %d threads has a short time slice", len(threads))
	}
}

// processFolder returns the folder in /proc, as seen from here, of a process of the machine.
func (m *machine) processFolder(pid string) string {
	m.t.Helper()
	namespace, err := os.Readlink("/proc/" + m.init + "/ns/pid")
	if err != nil {
		m.t.Fatal(err)
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, folder := range folders {
		status, err := os.ReadFile(folder + "/status")
		if err != nil {
			continue // it has ended
		}
		_, ids, _ := strings.Cut(string(status), "\nNSpid:")
		ids, _, _ = strings.Cut(ids, "\n")
		if inside, _ := os.Readlink(folder + "/ns/pid"); inside == namespace && strings.HasSuffix(ids, "\t"+pid) {
			return folder
		}
	}
	m.t.Fatalf("process %s of the machine is not seen from here", pid)
	return ""
}

// checkRecovery breaks the configuration until systemd gives up, sockets included, and mends it.
func (m *machine) checkRecovery() {
	m.t.Helper()
	good := m.sh("cat /etc/mirrorpool/mirrorpool.json")
	m.write("/etc/mirrorpool/mirrorpool.json", "{")
	m.try("systemctl restart mirrorpool")
	testbed.Eventually(m.t, "systemd has given up on the sockets", func() bool {
		if conn, err := m.dial(m.t.Context(), "udp", "127.0.0.1:53"); err == nil { // each query starts it again
			conn.Write([]byte("query"))
			conn.Close()
		}
		return m.sh("systemctl show --value --property ActiveState mirrorpool.socket") == "failed"
	})
	m.write("/etc/mirrorpool/mirrorpool.json", good)
	m.sh("systemctl reset-failed mirrorpool.service mirrorpool.socket; systemctl restart mirrorpool")
	if addrs, err := m.addresses("udp", "127.0.0.1:53"); err != nil || !slices.Equal(addrs, []string{"127.0.0.11"}) {
		m.t.Errorf("after the configuration is mended: %v, %v", addrs, err)
	}
	m.sh("systemctl stop mirrorpool.socket mirrorpool.service")
}

// edited is the configuration that has been installed, changed.
func (m *machine) edited(change func(map[string]any)) string {
	m.t.Helper()
	var c map[string]any
	if err := json.Unmarshal([]byte(m.sh("cat /etc/mirrorpool/mirrorpool.json")), &c); err != nil {
		m.t.Fatal(err)
	}
	change(c)
	text, err := json.Marshal(c)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

func (m *machine) property(name string) string {
	m.t.Helper()
	return m.sh("systemctl show --value --property " + name + " mirrorpool.service")
}

// checkPrivileges looks at what the running program is allowed, and where it keeps its state.
func (m *machine) checkPrivileges() {
	m.t.Helper()
	status := m.sh("cat /proc/" + m.property("MainPID") + "/status")
	uid := m.sh("id -u mirrorpool")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
		"Uid:\t" + uid + "\t" + uid} {
		if !strings.Contains(status, want) {
			m.t.Errorf("no %q in\n%s", want, status)
		}
	}
	testbed.Eventually(m.t, "the list is kept", func() bool {
		_, err := m.try("test -s /var/lib/mirrorpool/mirrors.kept")
		return err == nil
	})
	if got := m.sh("stat -c '%U %a' /var/lib/mirrorpool"); got != "mirrorpool 700" {
		m.t.Errorf("the folder of its state is of %s", got)
	}
}

// clients ask all the time, until stop is called, which tells how often they have. None may be left without an answer.
func (m *machine) clients() (stop func() (asked int)) {
	ctx, cancel := context.WithCancel(m.t.Context())
	var counts [3]int
	var asking sync.WaitGroup
	for i, ask := range []func() error{
		func() error { _, err := m.addresses("udp", "127.0.0.1:53"); return err },
		func() error { _, err := m.addresses("tcp", "127.0.0.1:53"); return err },
		func() error { _, err := m.redirect("127.0.0.1:80"); return err },
	} {
		asking.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := ask(); err != nil {
					m.t.Errorf("client %d, request %d: %v", i, counts[i], err)
				}
				counts[i]++
				<-tick.C
			}
		})
	}
	return func() int {
		cancel()
		asking.Wait()
		return slices.Min(counts[:])
	}
}
