//go:build linux

package systest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"mirrorpool/testdata/testbed"
)

// TestDebianPackage builds two versions of the package, installs one under a real systemd, upgrades it to the other
// one while clients ask, removes and purges it.
func TestDebianPackage(t *testing.T) {
	testbed.SkipLong(t)
	if os.Geteuid() != 0 {
		t.Skip("only root may make a machine of namespaces")
	}
	testbed.Need(t, "dpkg-deb", "dpkg")
	folder := t.TempDir()
	old, next := buildPackage(t, folder, "1.0"), buildPackage(t, folder, "2.0")
	m := boot(t)
	m.startMirrors()

	if out := m.sh("dpkg --install " + old); !strings.Contains(out, "systemctl enable --now mirrorpool.socket") {
		t.Errorf("the next step is not named:\n%s", out)
	}
	m.write("/etc/mirrorpool/mirrors.json", machineMirrors(10))
	m.checkMirrorsOften()
	m.sh("/usr/bin/mirrorpool check --as mirrorpool /etc/mirrorpool/mirrors.json /etc/mirrorpool/mirrorpool.json")
	m.sh("systemctl enable --now mirrorpool.socket mirrorpool.service")
	if addrs, err := m.addresses("udp", "127.0.0.1:53"); err != nil || !slices.Equal(addrs, []string{"127.0.0.11", "127.0.0.12"}) {
		t.Errorf("installed: %v, %v", addrs, err)
	}
	m.checkPrivileges()
	m.sh("zcat /usr/share/man/man5/mirrors.json.5.gz | grep -q weight && test -s /usr/share/bash-completion/completions/mirrorpool")

	stop := m.clients()
	before, edited := m.property("MainPID"), m.sh("cat /etc/mirrorpool/mirrorpool.json")
	m.sh("dpkg --install " + next)
	if after := m.property("MainPID"); after == before || after == "0" {
		t.Errorf("after the upgrade it is process %s, before it was %s", after, before)
	}
	if asked := stop(); asked < 5 {
		t.Errorf("clients have asked only %d times during the upgrade", asked)
	}
	if now := m.sh("cat /etc/mirrorpool/mirrorpool.json"); now != edited {
		t.Errorf("the upgrade has changed the configuration to\n%s", now)
	}

	m.sh("dpkg --remove mirrorpool")
	if _, err := m.try("systemctl is-active mirrorpool.service || systemctl is-active mirrorpool.socket"); err == nil {
		t.Error("it runs after its removal")
	}
	m.sh("test -e /etc/mirrorpool/mirrorpool.json && test -d /var/lib/mirrorpool && test ! -e /usr/bin/mirrorpool")
	m.sh("dpkg --purge mirrorpool")
	m.sh("test ! -e /etc/mirrorpool/mirrorpool.json && test ! -e /var/lib/mirrorpool && test -e /etc/mirrorpool/mirrors.json")
}

// buildPackage builds a package of a version, and returns its path.
func buildPackage(t *testing.T, folder, version string) string {
	t.Helper()
	cmd := exec.Command(testbed.Root(t, "cmd/mirrorpool/debian/build"), folder)
	cmd.Env = append(os.Environ(), "VERSION="+version)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
