package health

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"

	"mirrorpool/config"
)

// ShownBy returns a shell command that shows why an endpoint of a mirror is not up, or "" if none does.
func ShownBy(m *config.Mirror, settings *config.Health, e *Endpoint) string {
	if e.State != Down || !e.Address.IsValid() {
		return ""
	}
	step, _, _ := strings.Cut(e.Reason, ":")
	switch e.Role {
	case Rsync:
		return "rsync --contimeout=10 --timeout=10 " + quoted(strings.TrimSuffix(m.RsyncURL, "/")+"/"+settings.Path)
	case DNS:
		u, err := url.Parse(settings.DNSURL)
		if err != nil {
			return ""
		}
		return fetchCommand(u, e, step, "-r 1- ")
	}
	return fetchCommand(m.URL.JoinPath(settings.Path), e, step, "")
}

// CopyShownBy returns a shell command that prints the checksum, by an algorithm such as sha-256, of the copy at a URL
// that an endpoint sends; "" if it has no address.
func CopyShownBy(u *url.URL, algorithm string, e *Endpoint) string {
	if !e.Address.IsValid() {
		return ""
	}
	return fetchCommand(u, e, "", "") + " | " + strings.ReplaceAll(algorithm, "-", "") + "sum"
}

// fetchCommand asks an endpoint for a URL as the probe did, or for its certificates if these are what failed.
func fetchCommand(u *url.URL, e *Endpoint, step, options string) string {
	host := u.Hostname()
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	if step == StepTLS {
		return fmt.Sprintf("openssl s_client -showcerts -servername %s -connect %s </dev/null", quoted(host),
			quoted(net.JoinHostPort(e.Address.String(), port)))
	}
	at := e.Address.String()
	if e.Address.Is6() {
		at = "[" + at + "]"
	}
	return fmt.Sprintf("curl -svL %s--resolve %s %s", options, quoted(host+":"+port+":"+at), quoted(u.String()))
}

// quoted returns text as a shell reads it as one word.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
