//go:build unix

package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap/zapcore"

	"mirrorpool/config"
)

// TestJournalPriorities: what goes to the journal begins with its priority (sd-daemon(3)), and what goes elsewhere
// does not.
func TestJournalPriorities(t *testing.T) {
	for _, journal := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "log")
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		stream := fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
		if !journal {
			stream += "1"
		}
		t.Setenv("JOURNAL_STREAM", stream)
		log, _, err := NewLogger(config.Log{Level: "debug", Format: "json"}, file)
		if err != nil {
			t.Fatal(err)
		}
		levels := []zapcore.Level{zapcore.DebugLevel, zapcore.InfoLevel, zapcore.WarnLevel, zapcore.ErrorLevel}
		for _, level := range levels {
			log.Log(level, "hello")
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) != len(levels) {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), len(levels), text)
		}
		for i, prefix := range []string{"<7>{", "<6>{", "<4>{", "<3>{"} {
			if strings.HasPrefix(lines[i], prefix) != journal {
				t.Errorf("journal %v, %v: %q", journal, levels[i], lines[i])
			}
		}
	}
}
