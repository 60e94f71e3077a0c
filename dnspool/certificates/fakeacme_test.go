package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"mirrorpool/config"
)

// A fakeACME is an authority that speaks ACME without a network, so that it works in simulated time. It believes all
// requests, and validates what accepts says.
type fakeACME struct {
	*simulatedAuthority
	accepts func(kind string) bool
	window  func(leaf *x509.Certificate) (start, end time.Time) // nil: no ARI

	away      atomic.Bool // it cannot be reached
	remembers bool        // a name that was validated once is not validated again

	mu     sync.Mutex
	orders []*fakeOrder
	tries  []fakeTry
}

// A fakeTry is a validation.
type fakeTry struct {
	at         time.Time
	name, kind string
}

type fakeOrder struct {
	name     string
	replaces string
	status   string // of its only authorization
	failed   string // the kind of challenge that has failed
	chain    []byte
	leaf     *x509.Certificate
}

// url is the beginning of the URLs of the authority. acmez remembers its directory.
func (f *fakeACME) url() string { return "https://acme." + f.name }

// setAccepts says which challenges are valid from now on.
func (f *fakeACME) setAccepts(accepts func(kind string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accepts = accepts
}

// ordered returns how many orders were made.
func (f *fakeACME) ordered() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.orders)
}

// takeTries returns the validations since the latest call.
func (f *fakeACME) takeTries() []fakeTry {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.tries
	f.tries = nil
	return list
}

// RoundTrip answers a request.
func (f *fakeACME) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.away.Load() {
		return nil, errors.New("the authority is away")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var body struct{ Payload string }
	if req.Body != nil {
		if text, err := io.ReadAll(req.Body); err != nil || json.Unmarshal(text, &body) != nil {
			return nil, fmt.Errorf("not a JWS: %v", err)
		}
	}
	payload, err := base64.RawURLEncoding.DecodeString(body.Payload)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Replay-Nonce": {"nonce"}, "Content-Type": {"application/json"}}
	status, answer := f.answer(req.URL.Path, payload, header)
	text, ok := answer.([]byte)
	if !ok {
		text, _ = json.Marshal(answer)
	}
	return &http.Response{StatusCode: status, Header: header, Request: req, ContentLength: int64(len(text)),
		Body: io.NopCloser(bytes.NewReader(text))}, nil
}

func (f *fakeACME) answer(target string, payload []byte, header http.Header) (status int, answer any) {
	folder, last := path.Split(target)
	var number int
	var kind string
	fmt.Sscanf(last, "%d-%s", &number, &kind)
	switch folder {
	case "/":
		switch last {
		case "dir":
			return http.StatusOK, f.directory()
		case "account":
			header.Set("Location", f.url()+"/account/1")
			return http.StatusCreated, map[string]any{"status": "valid"}
		case "order":
			return f.newOrder(payload, header)
		}
	case "/order/":
		return http.StatusOK, f.order(number)
	case "/authz/":
		if bytes.Contains(payload, []byte("deactivated")) {
			f.orders[number].status = "deactivated"
		}
		return http.StatusOK, f.authorization(number)
	case "/chall/":
		return http.StatusOK, f.validate(number, kind)
	case "/finalize/":
		return f.finalize(number, payload)
	case "/cert/":
		header.Set("Content-Type", "application/pem-certificate-chain")
		return http.StatusOK, f.orders[number].chain
	case "/ari/":
		return f.renewalInfo(last, header)
	}
	return http.StatusOK, map[string]any{}
}

func (f *fakeACME) directory() map[string]any {
	dir := map[string]any{"newNonce": f.url() + "/nonce", "newAccount": f.url() + "/account", "newOrder": f.url() + "/order"}
	if f.window != nil {
		dir["renewalInfo"] = f.url() + "/ari"
	}
	return dir
}

func (f *fakeACME) newOrder(payload []byte, header http.Header) (int, any) {
	var wanted struct {
		Identifiers []struct{ Value string }
		Replaces    string
	}
	if json.Unmarshal(payload, &wanted) != nil || len(wanted.Identifiers) != 1 {
		return http.StatusBadRequest, map[string]any{"type": "urn:ietf:params:acme:error:malformed"}
	}
	o := &fakeOrder{name: wanted.Identifiers[0].Value, replaces: wanted.Replaces, status: "pending"}
	if f.remembers && slices.ContainsFunc(f.orders, func(before *fakeOrder) bool { return before.name == o.name && before.leaf != nil }) {
		o.status = "valid"
	}
	f.orders = append(f.orders, o)
	number := len(f.orders) - 1
	header.Set("Location", fmt.Sprintf("%s/order/%d", f.url(), number))
	return http.StatusCreated, f.order(number)
}

func (f *fakeACME) order(number int) map[string]any {
	o := f.orders[number]
	status := map[string]string{"pending": "pending", "valid": "ready"}[o.status]
	if o.chain != nil {
		status = "valid"
	}
	return map[string]any{
		"status": status, "identifiers": []any{map[string]any{"type": "dns", "value": o.name}},
		"authorizations": []string{fmt.Sprintf("%s/authz/%d", f.url(), number)},
		"finalize":       fmt.Sprintf("%s/finalize/%d", f.url(), number), "certificate": fmt.Sprintf("%s/cert/%d", f.url(), number),
	}
}

func (f *fakeACME) authorization(number int) map[string]any {
	o := f.orders[number]
	challenges := []any{}
	for _, kind := range []string{"dns-01", "tls-alpn-01", "http-01"} {
		c := map[string]any{"type": kind, "status": "pending", "token": fmt.Sprintf("token%d", number),
			"url": fmt.Sprintf("%s/chall/%d-%s", f.url(), number, kind)}
		if kind == o.failed {
			c["status"], c["error"] = "invalid", map[string]any{"type": "urn:ietf:params:acme:error:unauthorized",
				"detail": "the answer is wrong:\nnot\x1b[31m ours"}
		}
		challenges = append(challenges, c)
	}
	host, wild := strings.CutPrefix(o.name, "*.")
	return map[string]any{"status": o.status, "challenges": challenges, "wildcard": wild,
		"identifier": map[string]any{"type": "dns", "value": host}}
}

func (f *fakeACME) validate(number int, kind string) map[string]any {
	o := f.orders[number]
	f.tries = append(f.tries, fakeTry{time.Now(), o.name, kind})
	if o.status = "valid"; !f.accepts(kind) {
		o.status, o.failed = "invalid", kind
	}
	return map[string]any{"type": kind, "status": "processing", "url": fmt.Sprintf("%s/chall/%d-%s", f.url(), number, kind)}
}

func (f *fakeACME) finalize(number int, payload []byte) (int, any) {
	var wanted struct{ CSR string }
	if json.Unmarshal(payload, &wanted) != nil {
		return http.StatusBadRequest, map[string]any{"type": "urn:ietf:params:acme:error:malformed"}
	}
	der, err := base64.RawURLEncoding.DecodeString(wanted.CSR)
	if err != nil {
		return http.StatusBadRequest, map[string]any{"type": "urn:ietf:params:acme:error:malformed"}
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return http.StatusBadRequest, map[string]any{"type": "urn:ietf:params:acme:error:badCSR"}
	}
	issued, err := f.Issue(context.Background(), csr)
	if err != nil {
		return http.StatusInternalServerError, map[string]any{"type": "urn:ietf:params:acme:error:serverInternal"}
	}
	block, _ := pem.Decode(issued.Certificate)
	f.orders[number].chain = issued.Certificate
	f.orders[number].leaf, _ = x509.ParseCertificate(block.Bytes)
	return http.StatusOK, f.order(number)
}

// renewalInfo suggests when to renew a certificate, whose identifier ends in its serial number.
func (f *fakeACME) renewalInfo(id string, header http.Header) (int, any) {
	_, text, _ := strings.Cut(id, ".")
	serial, _ := base64.RawURLEncoding.DecodeString(text)
	for _, o := range f.orders {
		if o.leaf != nil && o.leaf.SerialNumber.Cmp(new(big.Int).SetBytes(serial)) == 0 {
			start, end := f.window(o.leaf)
			header.Set("Retry-After", "21600")
			return http.StatusOK, map[string]any{"suggestedWindow": map[string]any{
				"start": start.UTC().Format(time.RFC3339), "end": end.UTC().Format(time.RFC3339)}}
		}
	}
	return http.StatusNotFound, map[string]any{"type": "urn:ietf:params:acme:error:malformed"}
}

// options have an ACME get a certificate at f, in dir.
func (f *fakeACME) options(dir string, reach Reach, txt TXTRecords, log *zap.Logger) Options {
	return Options{
		Config: &config.ACME{Names: []string{f.name}, Directories: []string{f.url() + "/dir"}}, Dir: dir, Log: log,
		Reach: func(string) Reach { return reach }, OwnZone: txt, UpdatesAt: func(string, string) TXTRecords { return txt },
		tune: func(c *certmagic.Config) {
			for _, authority := range c.Issuers {
				authority.(*issuer).client = &http.Client{Transport: f}
			}
		},
	}
}

// newFakeACME returns an authority that accepts all answers.
func newFakeACME(t *testing.T) *fakeACME {
	t.Helper()
	return &fakeACME{simulatedAuthority: newSimulatedAuthority(t), accepts: func(string) bool { return true }}
}

// fakeTXT are TXT records that cannot be changed, if one of the errors is set.
type fakeTXT struct{ add, remove error }

func (f fakeTXT) AddTXT(context.Context, string, string) error    { return f.add }
func (f fakeTXT) RemoveTXT(context.Context, string, string) error { return f.remove }
