package redirector

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/stats"
)

func TestKindOfRange(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]stats.Kind{
		"":                               stats.Download,
		"bytes=0-":                       stats.Download,
		"bytes=00-":                      stats.Download,
		"bytes=0-1023":                   stats.Download,
		"BYTES= 0-1023":                  stats.Download,
		"bytes=0-9,20-29":                stats.Download,
		"bytes=1-":                       stats.Resumed,
		" bytes=1048576- ":               stats.Resumed,
		"bytes=1-1023":                   stats.Segment,
		"bytes=-500":                     stats.Segment,
		"bytes=20-29,0-9":                stats.Segment,
		"bytes":                          stats.Download, // ignored, as what follows
		"bytes=":                         stats.Download,
		"bytes=x-":                       stats.Download,
		"bytes=5":                        stats.Download,
		"items=5-":                       stats.Download,
		"bytes=99999999999999999999999-": stats.Resumed,
	} {
		if got := kindOfRange(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// A scripted request is a line and headers, with how it is to be counted; Kinds: not at all.
type scripted struct {
	line, headers string
	kind          stats.Kind
	path          string // by which a download is counted
}

// TestDownloadNumbers sends a mix of requests by both ways, over real connections, and wants exact numbers.
func TestDownloadNumbers(t *testing.T) {
	t.Parallel()
	each := 5000 // 100,000 requests
	if testing.Short() {
		each = 250
	}
	w := newFileWorld(t, config.Files{Origin: "/o"}, 4, map[string]int64{"stable/a.iso": 1, "stable/b c.img": 2, "top.txt": 3})
	w.handler.Stats = stats.NewCounter("", 400*24*time.Hour, time.Now)
	script := []scripted{
		{"GET /stable/a.iso", "", stats.Download, "stable/a.iso"},
		{"GET /stable/b%20c.img", "", stats.Download, "stable/b c.img"},
		{"GET /top.txt", "Range: bytes=0-\r\n", stats.Download, "top.txt"},
		{"GET /stable/a.iso?x=1", "", stats.Download, "stable/a.iso"},
		{"GET /stable/a.iso", "Range: bytes=0-1048575\r\nUser-Agent: aria2/1.36.0\r\n", stats.Download, "stable/a.iso"},
		{"GET /stable/a.iso", "Range: bytes=1048576-2097151\r\nUser-Agent: aria2/1.36.0\r\n", stats.Segment, ""},
		{"GET /stable/a.iso", "Range: bytes=5-\r\n", stats.Resumed, ""},
		{"GET /stable/a.iso", "Range: bytes=5-\r\nX-Forwarded-For: 198.51.100.7\r\n", stats.Resumed, ""},
		{"GET /stable/a.iso", "If-None-Match: \"x\"\r\n", stats.Conditional, ""},
		{"GET /stable/a.iso", "If-Modified-Since: Sun, 01 Nov 2026 00:00:00 GMT\r\nX-Forwarded-For: 198.51.100.7\r\n", stats.Conditional, ""},
		{"HEAD /stable/a.iso", "", stats.Head, ""},
		{"HEAD /stable/a.iso", "Range: bytes=0-\r\n", stats.Head, ""},
		{"GET /stable/", "", stats.Kinds, ""},
		{"GET /", "", stats.Kinds, ""},
		{"GET /no/such.iso", "", stats.Kinds, ""},
		{"GET /../x", "", stats.Kinds, ""},
		{"GET /robots.txt", "", stats.Kinds, ""},
		{"GET /stable/a.iso?mirrorlist", "", stats.Kinds, ""},
		{"GET /stable/a.iso", "Range: bytes=-500\r\nX-Forwarded-For: 198.51.100.7\r\n", stats.Segment, ""},
		{"GET /stable/a.iso", "X-Forwarded-For: 198.51.100.7\r\n", stats.Download, "stable/a.iso"},
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Listen(ctx, nil, config.HTTP{Listen: []string{"127.0.0.1:0"}}, w.handler, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	conn, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	r := rand.New(rand.NewPCG(1, 2))
	left := make([]int, 0, each*len(script))
	for k := range script {
		for range each {
			left = append(left, k)
		}
	}
	r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	want := map[stats.Kind]uint64{}
	paths := map[string]uint64{}
	for _, k := range left {
		send := &script[k]
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: dl.example.org\r\n%s\r\n", send.line, send.headers)
		resp, err := http.ReadResponse(answers, &http.Request{Method: strings.Fields(send.line)[0]})
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		if (resp.StatusCode == http.StatusFound) != (send.kind != stats.Kinds || strings.HasSuffix(send.line, "/")) {
			t.Fatalf("%s %s: %s", send.line, send.headers, resp.Status)
		}
		if resp.Close {
			conn.Close()
			if conn, err = net.Dial("tcp", s.Addrs()[0].String()); err != nil {
				t.Fatal(err)
			}
			answers = bufio.NewReader(conn)
		}
		if send.kind != stats.Kinds {
			want[send.kind]++
		}
		if send.kind == stats.Download {
			paths[send.path]++
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	got := map[string]uint64{}
	for _, row := range w.handler.Stats.Report(stats.ByPath, time.Now()).Rows {
		got[row.Name] = row.Downloads
	}
	if diff := cmp.Diff(paths, got); diff != "" {
		t.Errorf("by path: -want +got:\n%s", diff)
	}
	total := w.handler.Stats.Report(stats.ByMirror, time.Now()).Total
	for k := range stats.Kinds {
		if total[k] != want[k] {
			t.Errorf("%v: %d, want %d", k, total[k], want[k])
		}
	}
}

func TestPublicStats(t *testing.T) {
	t.Parallel()
	release := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	h := NewHandler(Options{
		Config: config.HTTP{BasePath: "/pub/", PublicStats: true}, Current: testCurrent(t, "https://m0.example.org/"), Source: &lockedSource{src: rand.NewPCG(1, 2)},
		Now: time.Now, Public: func() []PublicMirror {
			return []PublicMirror{{URLPrefix: "https://m0.example.org/<x>/", Share: 0.25, Expected: 0.5, Release: &release, Uptime30: 1, Uptime180: 0.995}}
		},
	})
	ask := func(target, accept string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("Accept", accept)
		h.ServeHTTP(w, r)
		return w
	}
	page := ask("/pub/?mirrorstats", "text/html")
	if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "m0.example.org/&lt;x&gt;/") ||
		!strings.Contains(page.Body.String(), "25.0 %") || !strings.Contains(page.Body.String(), "2026-11-01 12:00 UTC") {
		t.Errorf("%d %s", page.Code, page.Body)
	}
	var answer struct{ Mirrors []PublicMirror }
	if w := ask("/pub/?mirrorstats", "application/json"); w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &answer) != nil ||
		len(answer.Mirrors) != 1 || answer.Mirrors[0].Uptime180 != 0.995 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask("/pub/x?mirrorstats=1", "text/html"); w.Code != http.StatusFound {
		t.Errorf("another query: %d", w.Code)
	}
	h.SetConfig(config.HTTP{BasePath: "/pub/"})
	if w := ask("/pub/?mirrorstats", "text/html"); w.Code != http.StatusFound {
		t.Errorf("off: %d", w.Code)
	}
}
