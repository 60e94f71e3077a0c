package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mirrorpool/config"
)

// TestDirectoryAdvice has directories that cannot be read: the error says what to do, and nothing of challenges.
func TestDirectoryAdvice(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<title>An authority</title>"))
	})
	missing, html, untrusted := httptest.NewServer(http.NotFoundHandler()), httptest.NewServer(page), httptest.NewUnstartedServer(page)
	untrusted.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	untrusted.StartTLS()
	for _, s := range []*httptest.Server{missing, html, untrusted} {
		defer s.Close()
	}
	const isNone, reach = "http.tls.acme.directory has to be the URL of an ACME directory", "this host has to reach the authority"
	for directory, want := range map[string][]string{
		missing.URL + "/directory": {"HTTP 404", isNone},
		html.URL:                   {isNone},
		untrusted.URL:              {"unknown authority", "for a private authority, http.tls.acme.ca_root has to be a file with its root"},
		"https://127.0.0.1:9/dir":  {"connection refused", reach},
	} {
		i := &issuer{directory: directory, config: &config.ACME{}, storage: newStorage(t.TempDir()), log: zap.NewNop(),
			client: newClient(nil), stop: t.Context(),
			solvers: func(string) ([]solver, error) { return []solver{{"tls-alpn-01", alpnSolver{new(answers)}}}, nil }}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example.org"}}, key)
		if err != nil {
			t.Fatal(err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.Issue(t.Context(), csr)
		if err == nil {
			t.Fatalf("%s: a certificate", directory)
		}
		for _, part := range append(want, directory) {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q in it", directory, err, part)
			}
		}
		if strings.Contains(err.Error(), "tls-alpn-01") || strings.Contains(err.Error(), "provisioning") {
			t.Errorf("%s: %v", directory, err)
		}
	}
}

// TestUnreadableFolder has the folder of saved certificates unreadable: nothing is ordered, and the log and the status
// say what to do.
func TestUnreadableFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(dir, "certificates")
	if err := os.Symlink(folder, folder); err != nil { // even root cannot read it
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.ErrorLevel)
		authority := newFakeACME(t)
		acme, stop := runACME(t, authority.options(dir, Reach{}, fakeTXT{}, zap.New(core)))
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		const want = "the server's user has to read and write all in state_dir"
		if problem := acme.Status()[0].Problem; !strings.Contains(problem, want) || !strings.Contains(problem, folder) {
			t.Errorf("the problem is %q", problem)
		}
		if all := logs.All(); len(all) != 1 || !strings.Contains(all[0].ContextMap()["error"].(string), want) {
			t.Errorf("in the log: %v", all)
		}
		if n := authority.ordered(); n > 0 {
			t.Errorf("%d orders", n)
		}
	})
}
