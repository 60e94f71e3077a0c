package systest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// TestSystemd has systemd's own tool judge the unit, and holds the sockets to the configuration beside them.
func TestSystemd(t *testing.T) {
	t.Parallel()
	folder := testbed.Root(t, "cmd/mirrorpool/systemd")
	c, _, err := config.LoadServer(testbed.Root(t, "config/examples/mirrorpool.json"))
	if err != nil {
		t.Fatal(err)
	}
	unit, err := os.ReadFile(filepath.Join(folder, "mirrorpool.socket"))
	if err != nil {
		t.Fatal(err)
	}
	var datagram, stream []string
	for line := range strings.Lines(string(unit)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ListenDatagram":
			datagram = append(datagram, value)
		case "ListenStream":
			stream = append(stream, value)
		}
	}
	if want := slices.Concat(c.DNS.Listen, c.HTTP.Listen); !slices.Equal(datagram, c.DNS.Listen) || !slices.Equal(stream, want) {
		t.Errorf("sockets %v and %v, want %v and %v", datagram, stream, c.DNS.Listen, want)
	}
	analyze := testbed.Need(t, "systemd-analyze", "systemd")
	program, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	service, err := os.ReadFile(filepath.Join(folder, "mirrorpool.service"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	here := strings.ReplaceAll(string(service), "/usr/local/bin/mirrorpool", program) // which verify wants to be there
	if err := os.WriteFile(filepath.Join(dir, "mirrorpool.service"), []byte(here), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mirrorpool.socket"), unit, 0o644); err != nil {
		t.Fatal(err)
	}
	const most = "20" // tenths
	for _, args := range [][]string{
		{"security", "--no-pager", "--offline=true", "--threshold=" + most, filepath.Join(dir, "mirrorpool.service")},
		{"verify", "--man=no", filepath.Join(dir, "mirrorpool.service"), filepath.Join(dir, "mirrorpool.socket")},
	} {
		if out, err := exec.Command(analyze, args...).CombinedOutput(); err != nil {
			t.Errorf("systemd-analyze %v: %v\n%s", args, err, out)
		}
	}
}
