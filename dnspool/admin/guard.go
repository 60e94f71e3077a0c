package admin

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"mirrorpool/config/safefile"
	"mirrorpool/dnspool/listen"
)

const (
	minTokenLength = 16   // bytes
	maxTokenBytes  = 4096 // of the token file
)

// ReadToken reads the secret that clients on other hosts must send. The file must pass [safefile.ReadSecret]. An empty
// path means that there is none.
func ReadToken(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	text, err := safefile.ReadSecret(path, maxTokenBytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read the administrator's token: %w", err)
	}
	token := bytes.TrimSpace(text)
	if len(token) < minTokenLength {
		return nil, fmt.Errorf("the administrator's token in %s is shorter than %d characters: put a long random one there",
			path, minTokenLength)
	}
	return token, nil
}

// A guard accepts requests from this host, and requests with the token, but none that a browser sends for a page of
// another site. If there is a token, requests that change something need it even from this host, because any local user
// can connect. Over a Unix socket, the mode of the file decides. /healthz and /readyz are open to all: load balancers
// ask for them.
type guard struct {
	next   http.Handler
	listen string                            // the address, as configured
	token  atomic.Pointer[[sha256.Size]byte] // its hash; nil without one
}

func newGuard(next http.Handler, token []byte, listenAddr string) *guard {
	g := &guard{next: http.NewCrossOriginProtection().Handler(next), listen: listenAddr}
	g.setToken(token)
	return g
}

func (g *guard) setToken(token []byte) {
	g.token.Store(hashToken(token))
}

func (g *guard) hasToken(token []byte) bool {
	hash, inForce := hashToken(token), g.token.Load()
	return hash == inForce || hash != nil && inForce != nil && *hash == *inForce
}

func hashToken(token []byte) *[sha256.Size]byte {
	if len(token) == 0 {
		return nil
	}
	hash := sha256.Sum256(token)
	return &hash
}

// ServeHTTP passes a request on, or refuses it.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, isFile := listen.UnixPath(g.listen)
	token := g.token.Load()
	switch {
	case isFile, r.URL.Path == "/healthz", r.URL.Path == "/readyz", token != nil && carries(r, token):
		g.next.ServeHTTP(w, r)
	case !fromLoopback(r), token != nil && r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the administrator's token is needed; see --token-file", http.StatusUnauthorized)
	case !ownHost(r, g.listen):
		http.Error(w, "ask under an IP address or localhost, or with the administrator's token", http.StatusForbidden)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// carries reports whether a request has the token with this hash. It takes the same time whatever the request has.
func carries(r *http.Request, token *[sha256.Size]byte) bool {
	hash := sha256.Sum256([]byte(bearer(r.Header.Get("Authorization"))))
	return subtle.ConstantTimeCompare(hash[:], token[:]) == 1
}

// bearer returns the token in credentials of the scheme Bearer, or "" (RFC 9110 section 11.4, RFC 6750 section 2.1).
func bearer(credentials string) string {
	scheme, token, _ := strings.Cut(credentials, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimLeft(token, " ")
}

func fromLoopback(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// ownHost reports whether the Host of a request is an IP address, localhost, or the host of listen.
//
// This stops DNS rebinding: a web page can have its own name resolve to this host, so that a browser here takes our
// answers for those of the page's site. Its requests carry that name.
func ownHost(r *http.Request, listen string) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if own, _, err := net.SplitHostPort(listen); err == nil && own != "" && host == strings.ToLower(own) {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost"
}
