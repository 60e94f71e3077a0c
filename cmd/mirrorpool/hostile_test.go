package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"go.uber.org/zap"

	"mirrorpool/cmd/mirrorpool/internal/daemon"
	"mirrorpool/config"
)

// hostileText is what a list, a mirror or a server may send to have a terminal or a CI system obey it.
const hostileText = "a\n::error file=x::owned\r\n\x1b[31mred\u009b2J\u202egnp.exe\u2028b"

// wantPrintable fails if text holds anything but printable lines, or a line that is only hostile text.
func wantPrintable(t *testing.T, what, text string) {
	t.Helper()
	for line := range strings.SplitSeq(text, "\n") {
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) && r != '\t' }); i >= 0 {
			t.Errorf("%s: %q at byte %d", what, line, i)
		}
		if strings.HasPrefix(strings.TrimSpace(line), "::error file=x") {
			t.Errorf("%s: a line of its own for a CI system: %q", what, line)
		}
	}
	if !strings.Contains(text, "owned") {
		t.Errorf("%s: the hostile text is not in %q", what, text)
	}
}

func TestCheckEscapesHostileFiles(t *testing.T) {
	t.Parallel()
	key, err := json.Marshal(hostileText)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"a warning": fmt.Sprintf(`{"version": 1, "mirrors": [{"url_prefix": "http://a.example/", "weight": 1, %s: `+
			`1}]}`, key),
		"an error": fmt.Sprintf(`{"version": 1, "mirrors": [{"url_prefix": "http://a.example/", "weight": 1, `+
			`"location": {%s: 1}, "email": %s, "name": %s}]}`, key, key, key),
		"a key of mirrorpool.json": fmt.Sprintf(`{%s: {%s: 1}}`, key, key),
	}
	for name, text := range files {
		file := filepath.Join(t.TempDir(), hostileText)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"text", "json", "github", "gitlab"} {
			var stdout, stderr bytes.Buffer
			run(context.Background(), []string{"check", "--format", format, file}, &stdout, &stderr)
			wantPrintable(t, name+", --format "+format, stdout.String()+stderr.String())
		}
	}
}

// TestAdminClientEscapesHostileServers asks what answers at --admin, with each command.
func TestAdminClientEscapesHostileServers(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(hostileText)
	if err != nil {
		t.Fatal(err)
	}
	raw := bytes.ReplaceAll(text, []byte(`\u2028`), []byte("\u2028")) // as JSON allows it
	answers := map[string]string{
		"no JSON": hostileText,
		"JSON": strings.ReplaceAll(`{"zone": X, "suspect": X, 
			"pool": {"source": X, "error": X, "warnings": [X], "change": {"added": [X]}},
			"settings": {"error": X, "applied": [X], "restart": [X]}, "path": X, "location": X, "problem": X,
			"notify": [{"server": X, "problem": X}], "publish": [{"server": X, "problem": X}],
			"mirrors": [{"url_prefix": X, "name": X, "weight": 1, "reason": X, "why": X,
				"endpoints": [{"reason": X}]}]}`, "X", string(raw)),
	}
	for name, answer := range answers {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(answer)) }))
		t.Cleanup(server.Close)
		at := strings.TrimPrefix(server.URL, "http://")
		for _, args := range [][]string{
			{"status"}, {"status", "--json"}, {"reload"}, {"explain", "--client", "192.0.2.1"},
			{"explain", "--client", "192.0.2.1", "--json"},
		} {
			var stdout, stderr bytes.Buffer
			run(context.Background(), append(args, "--admin", at), &stdout, &stderr)
			wantPrintable(t, name+", "+strings.Join(args, " "), stdout.String()+stderr.String())
		}
	}
}

func TestLogEscapesHostileText(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "console"} {
		var out bytes.Buffer
		log, _, err := daemon.NewLogger(config.Log{Level: "info", Format: format}, &out)
		if err != nil {
			t.Fatal(err)
		}
		log.With(zap.String("mirror", hostileText)).Warn("endpoint changed state", zap.String("reason", hostileText))
		wantPrintable(t, format, out.String())
		if lines := strings.Count(out.String(), "\n"); lines != 1 {
			t.Errorf("%s: %d lines, want 1", format, lines)
		}
		var fields map[string]any
		if format == "json" && (json.Unmarshal(out.Bytes(), &fields) != nil || fields["reason"] != hostileText) {
			t.Errorf("the reason is %q, want %q", fields["reason"], hostileText)
		}
	}
}
