package tsig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/testdata/testbed"
)

const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTAxMjM="

func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := write(t, `
		// made by hand
		key "Transfer.Example" { algorithm hmac-sha256; secret "`+secret+`"; }; # one
		/* and
		   another */
		key other{secret `+secret+`;algorithm "HMAC-SHA512.";};`, 0o600)
	r, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, algorithm := range map[string]string{"transfer.example.": dns.HmacSHA256, "other.": dns.HmacSHA512} {
		k := r.Key(name)
		if k == nil || k.Name != name || k.Algorithm != algorithm || string(k.secret) != "secret-secret-secret-secret-0123" {
			t.Errorf("%s: got %v", name, k)
		}
	}
	if _, err := Load(path, path); err == nil || !strings.Contains(err.Error(), "is in a key file already") {
		t.Errorf("the same file twice: %v", err)
	}
	if _, err := LoadOne(path); err == nil || !strings.Contains(err.Error(), "want one key, got 2") {
		t.Errorf("LoadOne of two keys: %v", err)
	}
}

// TestKeygen reads what BIND's own program writes.
func TestKeygen(t *testing.T) {
	t.Parallel()
	keygen := testbed.Need(t, "tsig-keygen", "bind9")
	for _, algorithm := range []string{"hmac-sha256", "hmac-sha384", "hmac-sha512"} {
		text, err := exec.Command(keygen, "-a", algorithm, "xfr.example.org").Output()
		if err != nil {
			t.Fatal(err)
		}
		k, err := LoadOne(write(t, string(text), 0o400))
		if err != nil || k.Name != "xfr.example.org." || k.Algorithm != algorithm+"." {
			t.Errorf("%s: got %v, %v", algorithm, k, err)
		}
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"empty":     {"", ":1: has no key"},
		"not a key": {"\noptions {};", ":2: want a key, such as"},
		"no name":   {"key { algorithm x; };", ":1: want the key's name"},
		"old algorithm": {`key a { algorithm hmac-md5; secret "` + secret + `"; };`,
			`:1: want algorithm hmac-sha256, hmac-sha384 or hmac-sha512 for the key "a", got "hmac-md5"`},
		"no algorithm": {`key a { secret "` + secret + `"; };`, `:1: the key "a" has no algorithm`},
		"no secret":    {"key a {\nalgorithm hmac-sha256;\n};", ":3: want a secret of at least 16 bytes"},
		"short secret": {`key a { algorithm hmac-sha256; secret "` + secret[:12] + `"; };`,
			":1: want a secret of at least 16 bytes"},
		"not base64": {`key a { algorithm hmac-sha256; secret "` + secret[:31] + `!"; };`,
			`:1: the secret of the key "a" is not in base64`},
		"unknown word":     {"key a {\n" + secret + " x; };", ":2: want algorithm and secret, once each"},
		"two secrets":      {`key a { secret "` + secret + `"; secret "` + secret + `"; };`, "once each"},
		"no semicolon":     {`key a { algorithm hmac-sha256 }`, `:1: want ";"`},
		"cut":              {`key a { algorithm hmac-sha256;`, ":1: want algorithm and secret"},
		"open comment":     {"/* key", ":1: a comment does not end"},
		"open quote":       {"key \"a\n\"", ":1: want something in quotes, on one line"},
		"nothing in quote": {`key "" {`, ":1: want something in quotes"},
		"bad name": {`key "a..b" { algorithm hmac-sha256; secret "` + secret + `"; };`,
			`:1: want a DNS name for a key, got "a..b"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := write(t, test.text, 0o600)
			_, err := Load(path)
			if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			if strings.Contains(err.Error(), secret[:8]) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	text := `key a { algorithm hmac-sha256; secret "` + secret + `"; };`
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o604: false, 0o620: false, 0o777: false} {
		path := write(t, text, mode)
		_, err := Load(path)
		if good != (err == nil) || err != nil && !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing"),
		write(t, strings.Repeat("#", maxFile+1), 0o600)} {
		if _, err := Load(path); err == nil {
			t.Errorf("%s is no key file, want an error", path)
		}
	}
}

func testKey(t *testing.T, name string) *Key {
	t.Helper()
	k, err := NewKey(name, "hmac-sha256", []byte("secret-secret-secret-secret-0123"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSecretsStaySecret prints a key in all ways that there are.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	k := testKey(t, "a")
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %q %x %d", k, k, k, k, k, k, k),
		fmt.Sprintf("%+v", []*Key{k})} {
		for _, shown := range []string{"secret", secret[:8], fmt.Sprintf("%x", "secret"), "115 101"} {
			if strings.Contains(text, shown) {
				t.Errorf("%q shows the secret", text)
			}
		}
		if !strings.Contains(text, "key a.") {
			t.Errorf("%q does not show the name", text)
		}
	}
}

// TestVerify signs with miekg/dns's own code, and verifies with ours, and the other way round.
func TestVerify(t *testing.T) {
	t.Parallel()
	k := testKey(t, "a.")
	sign := func(provider dns.TsigProvider, name, algorithm string, at time.Time) []byte {
		m := new(dns.Msg).SetQuestion("example.org.", dns.TypeSOA)
		m.SetTsig(name, algorithm, Fudge, at.Unix())
		wire, _, err := dns.TsigGenerateWithProvider(m, provider, "", false)
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	wire := sign(k.Ring(), "a.", dns.HmacSHA256, time.Now())
	if err := dns.TsigVerify(bytes.Clone(wire), secret, "", false); err != nil {
		t.Errorf("miekg/dns does not take our signature: %v", err)
	}
	other, _ := NewKey("a.", "hmac-sha256", bytes.Repeat([]byte("x"), 32))
	sha512, _ := NewKey("a.", "hmac-sha512", k.secret)
	for name, test := range map[string]struct {
		wire []byte
		want error
		code uint16
	}{
		"good":              {wire, nil, 0},
		"name in capitals":  {sign(testKey(t, "A").Ring(), "A.", dns.HmacSHA256, time.Now()), nil, 0},
		"unknown key":       {sign(testKey(t, "b.").Ring(), "b.", dns.HmacSHA256, time.Now()), dns.ErrSecret, dns.RcodeBadKey},
		"another algorithm": {sign(sha512.Ring(), "a.", dns.HmacSHA512, time.Now()), dns.ErrKeyAlg, dns.RcodeBadKey},
		"another secret":    {sign(other.Ring(), "a.", dns.HmacSHA256, time.Now()), dns.ErrSig, dns.RcodeBadSig},
		"an hour ago":       {sign(k.Ring(), "a.", dns.HmacSHA256, time.Now().Add(-time.Hour)), dns.ErrTime, dns.RcodeBadTime},
		"in an hour":        {sign(k.Ring(), "a.", dns.HmacSHA256, time.Now().Add(time.Hour)), dns.ErrTime, dns.RcodeBadTime},
	} {
		err := dns.TsigVerifyWithProvider(bytes.Clone(test.wire), k.Ring(), "", false)
		if !errors.Is(err, test.want) || err != nil && ErrorCode(err) != test.code {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if _, err := base64.StdEncoding.DecodeString(secret); err != nil {
		t.Fatal(err)
	}
}

// TestAppend signs a response of several messages, and has miekg/dns verify them; and wants the same bytes as it makes.
func TestAppend(t *testing.T) {
	t.Parallel()
	k := testKey(t, "a.")
	now := time.Now()
	previous := strings.Repeat("0a", 32) // the MAC of a request
	for i := range 3 {
		m := new(dns.Msg).SetQuestion("example.org.", dns.TypeAXFR)
		wire, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		signed, mac, err := k.Append(wire, previous, i > 0, now)
		if err != nil {
			t.Fatal(err)
		}
		k.Sign(m, now)
		want, _, err := dns.TsigGenerateWithProvider(m, k.Ring(), previous, i > 0)
		if err != nil || !bytes.Equal(signed, want) {
			t.Errorf("message %d: got\n%x, want\n%x, %v", i, signed, want, err)
		}
		if err := dns.TsigVerifyWithProvider(bytes.Clone(signed), k.Ring(), previous, i > 0); err != nil {
			t.Errorf("message %d: %v", i, err)
		}
		previous = mac
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	k := testKey(t, "a.")
	request := new(dns.Msg).SetQuestion("example.org.", dns.TypeSOA)
	k.Sign(request, now)
	refused := func(code uint16, theirs time.Time) *dns.Msg {
		resp := new(dns.Msg).SetReply(request)
		Refuse(resp, request.IsTsig(), code, theirs)
		return resp
	}
	unsigned := new(dns.Msg).SetRcode(request, dns.RcodeRefused)
	signed := new(dns.Msg).SetReply(request)
	k.Sign(signed, now)
	for name, test := range map[string]struct {
		resp *dns.Msg
		err  error
		want string
	}{
		"no response": {nil, errors.New("timeout"), "timeout"},
		"slow clock": {refused(dns.RcodeBadTime, now.Add(time.Hour)), dns.ErrAuth,
			"the server's clock is 1h0m0s ahead of ours: set the clocks"},
		"fast clock": {refused(dns.RcodeBadTime, now.Add(-time.Hour)), dns.ErrAuth,
			"the server's clock is 1h0m0s behind ours: set the clocks"},
		"unknown key":    {refused(dns.RcodeBadKey, now), dns.ErrAuth, "BADKEY: the server does not have our key a., or has it"},
		"another secret": {refused(dns.RcodeBadSig, now), dns.ErrAuth, "BADSIG: the server has another secret for our key a."},
		"forged":         {signed, dns.ErrSig, "the response is not signed with our key a."},
		"unsigned":       {unsigned, nil, "REFUSED, without a signature"},
		"good":           {signed, nil, "<nil>"},
	} {
		if got := fmt.Sprint(Explain(k, test.resp, test.err, now)); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
	if err := Explain(nil, unsigned, nil, now); err != nil {
		t.Errorf("no signature was asked for: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`key "a" { algorithm hmac-sha256; secret "` + secret + `"; };`)
	f.Add("key a{/**/}//#")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parse(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
		for _, k := range keys {
			if len(k.secret) < minSecret || hashes[k.Algorithm] == nil {
				t.Errorf("took %v", k)
			}
		}
	})
}
