package certificates

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
	"mirrorpool/testdata/testbed"
)

// writeFiles replaces a certificate and its key. The first one has the serial number 2.
func writeFiles(t *testing.T, authority *testbed.Authority, files config.TLS) {
	t.Helper()
	writeFilesFor(t, authority, files, "dl.example.org", time.Now().Add(time.Hour))
}

// writeFilesFor replaces a certificate for a name and its key.
func writeFilesFor(t *testing.T, authority *testbed.Authority, files config.TLS, name string, until time.Time) {
	t.Helper()
	cert, key := authority.IssueFiles(t, name, until)
	for from, to := range map[string]string{cert: files.Cert, key: files.Key} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	authority := testbed.NewAuthority(t)
	core, logs := observer.New(zapcore.InfoLevel)
	if _, err := OpenFiles(files, zap.New(core)); err == nil || !strings.Contains(err.Error(), "cert.pem") {
		t.Errorf("without files: %v", err)
	}
	writeFiles(t, authority, files)
	c, err := OpenFiles(files, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.run(ctx, time.Millisecond) }()
	serial := func() int64 {
		pair, err := c.Certificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.Int64()
	}
	writeFiles(t, authority, files)
	testbed.Eventually(t, "the new certificate is in force", func() bool { return serial() == 3 })
	if err := os.WriteFile(files.Cert, []byte("not a certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, "a broken one is in the log", func() bool { return logs.FilterLevelExact(zapcore.ErrorLevel).Len() > 0 })
	if serial() != 3 {
		t.Error("the one before is not in force any longer")
	}
	writeFiles(t, authority, files)
	testbed.Eventually(t, "the next one is in force", func() bool { return serial() == 4 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
