package certificates

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
)

// ALPN is the protocol by which an authority asks for the answer to a TLS-ALPN-01 challenge (RFC 8737).
const ALPN = acmez.ACMETLS1Protocol

var errNoChallenge = errors.New("no challenge is under way for this name")

// answers holds the answers to pending challenges, and finds those of other copies of the program. The zero value is
// ready to use, and shares none.
type answers struct {
	shared sharedAnswers

	mu   sync.Mutex
	http map[string]string           // key authorizations, by token
	alpn map[string]*tls.Certificate // by name
}

// keyAuthorization returns the answer to an HTTP-01 challenge (RFC 8555 section 8.3).
func (a *answers) keyAuthorization(token string) (string, bool) {
	a.mu.Lock()
	text, ok := a.http[token]
	a.mu.Unlock()
	if !ok {
		text, ok = a.shared.find(acme.ChallengeTypeHTTP01, token)
	}
	return text, ok && strings.HasPrefix(text, token+".") // file names do not tell all tokens apart
}

// certificate returns the answer to a TLS-ALPN-01 challenge (RFC 8737 section 3).
func (a *answers) certificate(name string) (*tls.Certificate, error) {
	a.mu.Lock()
	cert := a.alpn[name]
	a.mu.Unlock()
	if cert != nil {
		return cert, nil
	}
	text, ok := a.shared.find(acme.ChallengeTypeTLSALPN01, name)
	if !ok {
		return nil, errNoChallenge
	}
	return acmez.TLSALPN01ChallengeCert(acme.Challenge{
		Identifier: acme.Identifier{Type: "dns", Value: name}, KeyAuthorization: text,
	})
}

// An httpSolver answers HTTP-01 challenges.
type httpSolver struct{ *answers }

// Present starts to give the answer.
func (s httpSolver) Present(ctx context.Context, c acme.Challenge) error {
	if err := s.shared.add(ctx, acme.ChallengeTypeHTTP01, c.Token, c.KeyAuthorization); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http == nil {
		s.http = map[string]string{}
	}
	s.http[c.Token] = c.KeyAuthorization
	return nil
}

// CleanUp stops giving the answer.
func (s httpSolver) CleanUp(ctx context.Context, c acme.Challenge) error {
	s.mu.Lock()
	delete(s.http, c.Token)
	s.mu.Unlock()
	return s.shared.remove(ctx, acme.ChallengeTypeHTTP01, c.Token)
}

// An alpnSolver answers TLS-ALPN-01 challenges.
type alpnSolver struct{ *answers }

// Present starts to give the answer.
func (s alpnSolver) Present(ctx context.Context, c acme.Challenge) error {
	cert, err := acmez.TLSALPN01ChallengeCert(c)
	if err == nil {
		err = s.shared.add(ctx, acme.ChallengeTypeTLSALPN01, c.Identifier.Value, c.KeyAuthorization)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alpn == nil {
		s.alpn = map[string]*tls.Certificate{}
	}
	s.alpn[c.Identifier.Value] = cert
	return nil
}

// CleanUp stops giving the answer.
func (s alpnSolver) CleanUp(ctx context.Context, c acme.Challenge) error {
	s.mu.Lock()
	delete(s.alpn, c.Identifier.Value)
	s.mu.Unlock()
	return s.shared.remove(ctx, acme.ChallengeTypeTLSALPN01, c.Identifier.Value)
}

// TXTRecords changes the records of the zone that a name is in.
type TXTRecords interface {
	// AddTXT adds a TXT record. It returns when the zone's servers have it, as far as can be known.
	AddTXT(ctx context.Context, name, value string) error
	// RemoveTXT removes it.
	RemoveTXT(ctx context.Context, name, value string) error
}

// A dnsSolver answers DNS-01 challenges.
type dnsSolver struct {
	records TXTRecords
	log     *zap.Logger
}

// Present starts to give the answer.
func (s dnsSolver) Present(ctx context.Context, c acme.Challenge) error {
	return s.records.AddTXT(ctx, c.DNS01TXTRecordName()+".", c.DNS01KeyAuthorization())
}

// CleanUp removes the answer, even if ctx has ended. A failure is logged here: acmez drops it.
func (s dnsSolver) CleanUp(ctx context.Context, c acme.Challenge) error {
	owner := c.DNS01TXTRecordName() + "."
	err := s.records.RemoveTXT(context.WithoutCancel(ctx), owner, c.DNS01KeyAuthorization())
	if err != nil {
		s.log.Warn("the TXT record of a challenge may be left; the next order and the next start try again to remove it",
			zap.String("record", owner), zap.Error(err))
	}
	return err
}
