package systest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mirrorpool/testdata/testbed"
)

const (
	dayMirrors  = 12
	dayClients  = 2000             // at least
	dayFile     = 6 << 20          // bytes of a new file
	dayRate     = "3000"           // KiB/s at which a mirror copies
	dayInterval = "40s"            // files.interval
	dayUsedIn   = 45 * time.Second // after a mirror has a file, clients are sent there
)

// A releaseDay is a pool of real mirrors that copy a release from an origin, and clients that ask for old and new
// files.
type releaseDay struct {
	t       *testing.T
	origin  string // folder
	source  string // rsync URL of it
	mirrors []*dayMirror
	files   map[string]int64 // that clients ask for
	fresh   []string         // those of the release
	config  *serverConfig

	mu      sync.Mutex
	program *program // nil while it is down
	clients int
	wrong   []string             // what clients met
	had     map[string]time.Time // when a mirror had a new file, by mirror and path
	used    map[string]time.Time // when a client was first sent there for it
	answers map[string]int
}

// A dayMirror is a mirror with nginx, and rsync if it has a module.
type dayMirror struct {
	name, address, dir string
	prefix             string
	options            []string // of rsync
	rsyncURL           string
	lacks              string // folder that it leaves out
}

// TestReleaseDay has mirrors of many kinds copy a release, traces first. No client may be sent to a mirror without the
// file, also not after the server was killed and started again.
func TestReleaseDay(t *testing.T) {
	t.Parallel()
	testbed.SkipLong(t)
	d := newReleaseDay(t, func(i int, m *dayMirror) {
		switch i {
		case 5, 6:
			m.rsyncURL = ""
		case 7, 8:
			m.lacks = "archive"
			m.options = append(m.options, "--exclude=/archive")
		case 9:
			m.options = []string{"-r", "--delete"}
		case 10:
			m.options = append(m.options, "--inplace")
		}
	})
	d.config.json["files"].(map[string]any)["origin"] = d.origin
	d.start()
	testbed.Eventually(t, "the mirrors are listed", func() bool {
		known := 0
		for _, m := range d.program.status(t).Files.Mirrors {
			if m.Known {
				known++
			}
		}
		return known >= dayMirrors-2
	})
	occupy(t, strings.TrimSuffix(strings.TrimPrefix(d.mirrors[11].rsyncURL, "rsync://"), "/tails/"))
	d.publish()
	done := d.copyAndAsk(func() {
		time.Sleep(3 * time.Second) // amid the copies
		d.kill()
		d.start()
		d.testWait()
	})
	d.judge(done)
	d.testViews()
}

// testWait waits for the release as a release script does.
func (d *releaseDay) testWait() {
	d.t.Helper()
	wait := func(timeout string, more ...string) (code int, out string) {
		args := append([]string{"wait", "--admin", d.program.admin, "--timeout", timeout}, more...)
		code, out, errOut := command(d.t, append(args, d.fresh...)...)
		return code, out + errOut
	}
	if code, out := wait("1s", "--mirrors", "13"); code != 1 || !strings.Contains(out, "not enough mirrors") {
		d.t.Errorf("waiting for more mirrors than there are: exit code %d, %s", code, out)
	}
	// All but the two that answer no rsync may be asked at any time; the web servers tell of the others.
	if code, out := wait("60s", "--mirrors", fmt.Sprint(dayMirrors), "--weight", "1"); code != 0 ||
		!strings.Contains(out, d.fresh[0]) {
		d.t.Errorf("waiting for all mirrors: exit code %d, %s", code, out)
	}
}

// testViews looks at the release when all mirrors have it.
func (d *releaseDay) testViews() {
	d.t.Helper()
	_, status, _ := command(d.t, "status", "--admin", d.program.admin)
	if !strings.Contains(status, "3 new files since") || !strings.Contains(status, "stable/new-0.img: ") {
		d.t.Errorf("status: %s", status)
	}
	if code, out, errOut := command(d.t, "files", "--admin", d.program.admin, d.mirrors[0].prefix); code != 0 {
		d.t.Errorf("files of a complete mirror: exit code %d, %s%s", code, out, errOut)
	}
	code, out, errOut := command(d.t, "files", "--admin", d.program.admin, d.mirrors[7].prefix)
	if code != 1 || strings.Count(out, "lacks       archive/") != 3 {
		d.t.Errorf("files of a mirror without the archive: exit code %d, %s%s", code, out, errOut)
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+d.program.web+"/archive/0.img?mirrorlist", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct {
		Complete int
		Mirrors  []struct {
			URLPrefix string `json:"url_prefix"`
			File      string
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		d.t.Fatal(err)
	}
	for _, m := range list.Mirrors {
		if lacks := m.URLPrefix == d.mirrors[7].prefix || m.URLPrefix == d.mirrors[8].prefix; lacks != (m.File == "lacks") {
			d.t.Errorf("%s: file is %q", m.URLPrefix, m.File)
		}
	}
	if list.Complete < dayMirrors-4 {
		d.t.Errorf("%d mirrors are complete", list.Complete)
	}
	metrics := string(fetch(d.t, http.DefaultClient, "http://"+d.program.admin+"/metrics"))
	for _, line := range []string{
		"mirrorpool_files 10\n", fmt.Sprintf("mirrorpool_mirror_files_lacking{mirror=%q} 3\n", d.mirrors[7].prefix),
		`mirrorpool_file_requests_total{known_by="listing"}`,
	} {
		if !strings.Contains(metrics, line) {
			d.t.Errorf("metrics lack %s", line)
		}
	}
}

// TestReleaseDays is TestReleaseDay under other conditions.
func TestReleaseDays(t *testing.T) {
	t.Parallel()
	if !testbed.Long() {
		t.Skip("it takes minutes: MIRRORPOOL_TEST_LONG=1 runs it")
	}
	for name, test := range map[string]struct {
		change func(i int, m *dayMirror)
		files  func(d *releaseDay, files map[string]any)
	}{
		"no rsync": {
			func(_ int, m *dayMirror) { m.rsyncURL = "" },
			func(d *releaseDay, files map[string]any) { files["origin"] = d.origin },
		},
		"some excluded, some without times": {
			func(i int, m *dayMirror) {
				if i%3 == 0 {
					m.lacks, m.options = "archive", append(m.options, "--exclude=/archive")
				}
				if i%4 == 1 {
					m.options = []string{"-r", "--delete"}
				}
			},
			func(d *releaseDay, files map[string]any) { files["origin"] = d.source },
		},
		"partial files": {
			func(_ int, m *dayMirror) { m.options = append(m.options, "--inplace") },
			func(d *releaseDay, files map[string]any) { files["origin"] = d.origin },
		},
		"origin unreachable": {
			func(int, *dayMirror) {},
			func(_ *releaseDay, files map[string]any) { files["origin"] = "rsync://127.0.61.101:1/tails/" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newReleaseDay(t, test.change)
			test.files(d, d.config.json["files"].(map[string]any))
			d.start()
			d.publish()
			d.judge(d.copyAndAsk(func() {}))
		})
	}
}
