package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"mirrorpool/config"
)

const (
	requestTime = 30 * time.Second // for one request to an authority
	orderTime   = 5 * time.Minute  // for one challenge, until there is a certificate
	userAgent   = "mirrorpool"
)

// An issuer orders certificates at one authority, for certmagic.
type issuer struct {
	directory string
	config    *config.ACME
	storage   *storage
	log       *zap.Logger
	client    *http.Client
	solvers   func(name string) ([]solver, error) // in the order in which they are tried
	stop      context.Context                     // ends all requests

	mu       sync.Mutex      // guards noAdvice
	noAdvice map[string]bool // names for which the latest request for renewal information has failed
}

// A solver answers challenges of one kind.
type solver struct {
	kind string
	acmez.Solver
}

// newClient returns the client for an authority. roots is nil for those of the system.
func newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{Timeout: requestTime, Transport: limitedTransport{&http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: requestTime}).DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: requestTime, ResponseHeaderTimeout: requestTime, ForceAttemptHTTP2: true,
		IdleConnTimeout: requestTime,
	}}}
}

// IssuerKey returns a name for the authority, which is a part of file names.
func (i *issuer) IssuerKey() string {
	u, err := url.Parse(i.directory)
	if err != nil {
		return "unknown"
	}
	return strings.Trim(strings.NewReplacer("/", "-", "\\", "-", ":", "-").Replace(u.Host+u.Path), "-")
}

func (i *issuer) acmeClient() *acme.Client {
	return &acme.Client{Directory: i.directory, HTTPClient: i.client, UserAgent: userAgent, PollTimeout: orderTime}
}

// untilStop returns a context that ends with ctx, or with the server.
func (i *issuer) untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(i.stop, cancel)
	return ctx, func() { stop(); cancel() }
}

// GetRenewalInfo asks when a certificate should be renewed (RFC 9773).
func (i *issuer) GetRenewalInfo(ctx context.Context, cert certmagic.Certificate) (acme.RenewalInfo, error) {
	ctx, cancel := i.untilStop(ctx)
	defer cancel()
	info, err := i.acmeClient().GetRenewalInfo(ctx, cert.Leaf)
	if name := cert.Names[0]; i.isNewFailure(name, err) {
		i.log.Warn("cannot ask the authority when to renew a certificate; it is renewed when a third of its time is left",
			zap.String("name", name), zap.String("error", oneLine(err.Error())))
	}
	return info, err
}

// isNewFailure reports whether a request for renewal information has failed after one that has not. certmagic makes
// such a request every 10 minutes, also of authorities that have none.
func (i *issuer) isNewFailure(name string, err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, acme.ErrUnsupported) {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	before := i.noAdvice[name]
	if i.noAdvice == nil {
		i.noAdvice = map[string]bool{}
	}
	i.noAdvice[name] = err != nil
	return err != nil && !before
}

// Issue orders a certificate for the name in a request. It tries one challenge after the other.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	if len(csr.DNSNames) != 1 {
		return nil, fmt.Errorf("%d names in a certificate request, want 1", len(csr.DNSNames))
	}
	ctx, cancel := i.untilStop(ctx)
	defer cancel()
	issued, err := i.issue(ctx, csr)
	if err != nil && ctx.Value(certmagic.AttemptsCtxKey) != nil {
		err = certmagic.ErrNoRetry{Err: err} // certmagic would hold the lock on the name for all its attempts
	}
	return issued, err
}

func (i *issuer) issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	name := csr.DNSNames[0]
	if err := i.checkWritable(certmagic.StorageKeys.CertsSitePrefix(i.IssuerKey(), name)); err != nil {
		return nil, err
	}
	solvers, err := i.solvers(name)
	if err != nil {
		return nil, err
	}
	if err := i.readDirectory(ctx); err != nil {
		return nil, err
	}
	if _, err := i.accountOf(ctx, &acmez.Client{Client: i.acmeClient()}); err != nil {
		return nil, err
	}
	return i.tryEach(ctx, csr, solvers)
}

// readDirectory returns an error that says what to do if the authority's directory cannot be read.
func (i *issuer) readDirectory(ctx context.Context) error {
	_, err := i.acmeClient().GetDirectory(ctx)
	if err == nil {
		return nil
	}
	advice := "http.tls.acme.directory has to be the URL of an ACME directory"
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		advice = "for a private authority, http.tls.acme.ca_root has to be a file with its root"
	case errors.As(err, new(*url.Error)):
		advice = "this host has to reach the authority; see whether http.tls.acme.directory is right, and what a firewall blocks"
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without "provisioning client"
	}
	return fmt.Errorf("cannot read the authority's directory at %s: %w; %s", i.directory, err, advice)
}

// tryEach tries one challenge after the other, while the authority's limit on failures permits it.
func (i *issuer) tryEach(ctx context.Context, csr *x509.CertificateRequest, solvers []solver) (*certmagic.IssuedCertificate, error) {
	name := csr.DNSNames[0]
	var failed failures
	for _, s := range solvers {
		if err := i.mayTry(ctx, name); err != nil {
			if wait := (*waitError)(nil); errors.As(err, &wait) && len(failed) > 0 {
				wait.last = "" // it is one of failed
			}
			return nil, append(failed, err)
		}
		counted := &countedSolver{solver: s, issuer: i, name: name}
		issued, err := i.order(ctx, csr, counted)
		if err == nil {
			counted.noteUnsaved(ctx)
			return issued, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", s.kind, err))
		if !isChallengeFailure(err) {
			break // another challenge does not help
		}
		if err := i.noteFailure(ctx, name, failed[len(failed)-1]); err != nil {
			return nil, append(failed, err)
		}
	}
	return nil, failed
}

// failures are errors, on one line.
type failures []error

// Error is described at [error].
func (f failures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return oneLine(strings.Join(texts, "; "))
}

// Unwrap is described at [errors.Is].
func (f failures) Unwrap() []error { return f }

const maxText = 2 << 10 // bytes of an error in the log and in the status

// oneLine returns a text, which may come from an authority, on one line that is not too long.
func oneLine(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + " ..."
	}
	return config.Printable(strings.Join(strings.Fields(text), " "))
}

// order orders a certificate by one challenge. An account that the authority no longer knows is registered anew.
func (i *issuer) order(ctx context.Context, csr *x509.CertificateRequest, s *countedSolver) (*certmagic.IssuedCertificate, error) {
	client := &acmez.Client{Client: i.acmeClient(), ChallengeSolvers: map[string]acmez.Solver{s.kind: s}}
	account, err := i.accountOf(ctx, client)
	if err != nil {
		return nil, err
	}
	issued, err := i.orderReplacing(ctx, client, account, csr)
	if problem := (acme.Problem{}); !errors.As(err, &problem) || problem.Type != acme.ProblemTypeAccountDoesNotExist {
		return issued, err
	}
	if account, err = i.replaceAccount(ctx, client, account); err != nil {
		return nil, err
	}
	return i.orderReplacing(ctx, client, account, csr)
}

// orderReplacing orders a certificate that replaces the one this authority issued before. That is only a hint
// (RFC 9773, section 5): an authority that refuses it is asked again without it.
func (i *issuer) orderReplacing(
	ctx context.Context, client *acmez.Client, account acme.Account, csr *x509.CertificateRequest,
) (*certmagic.IssuedCertificate, error) {
	params, err := acmez.OrderParametersFromCSR(account, csr)
	if err != nil {
		return nil, err
	}
	params.Replaces = i.issuedBefore(ctx, csr.DNSNames[0])
	chains, err := client.ObtainCertificate(ctx, params)
	if params.Replaces != nil && isOrderRefusal(err) {
		params.Replaces = nil
		chains, err = client.ObtainCertificate(ctx, params)
	}
	switch {
	case err != nil:
		return nil, err
	case len(chains) == 0:
		return nil, errors.New("the authority has sent no certificate")
	}
	return &certmagic.IssuedCertificate{Certificate: chains[0].ChainPEM, Metadata: chains[0]}, nil
}

// issuedBefore returns the certificate for a name that this authority issued, while it is valid, or nil.
func (i *issuer) issuedBefore(ctx context.Context, name string) *x509.Certificate {
	text, err := i.storage.Load(ctx, certmagic.StorageKeys.SiteCert(i.IssuerKey(), name))
	if err != nil {
		return nil
	}
	leaf, err := leafOf(text)
	if err != nil || !time.Now().Before(leaf.NotAfter) {
		return nil
	}
	return leaf
}

// leafOf returns the first certificate of a chain in PEM.
func leafOf(chain []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(chain)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("want a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// isOrderRefusal reports whether no order was made, for another reason than a rate limit or an unknown account.
func isOrderRefusal(err error) bool {
	problem := acme.Problem{}
	if err == nil || errors.As(err, &problem) &&
		(problem.Type == acme.ProblemTypeRateLimited || problem.Type == acme.ProblemTypeAccountDoesNotExist) {
		return false
	}
	refused := problem.Type != "" && strings.Contains(err.Error(), "creating new order") // of acmez, which has no type for it
	return refused || strings.Contains(err.Error(), "invalid Replaces")                  // for a certificate without identifiers
}

// isChallengeFailure reports whether no answer could be given to a challenge, or the authority could not see it, or
// wants another kind.
func isChallengeFailure(err error) bool {
	problem, unanswered := acme.Problem{}, (*cannotAnswer)(nil)
	if errors.As(err, &unanswered) {
		return true
	}
	if !errors.As(err, &problem) {
		return strings.Contains(err.Error(), "no solvers available") // of acmez, for which it has no type
	}
	return slices.Contains([]string{
		acme.ProblemTypeCAA, acme.ProblemTypeConnection, acme.ProblemTypeDNS, acme.ProblemTypeIncorrectResponse,
		acme.ProblemTypeMalformed, acme.ProblemTypeTLS, acme.ProblemTypeUnauthorized,
	}, problem.Type)
}
