package rsync

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// DefaultPort is the port that IANA assigned to rsync.
const DefaultPort = "873"

// maxTarget bounds module and path together. Daemons read arguments into buffers
// of at least 1024 bytes.
const maxTarget = 1000

// A URL is an rsync:// URL, taken apart.
type URL struct {
	Host   string // a name, or an address without brackets
	Port   string // a number from 1 to 65535
	Module string // the first element of the path; never empty
	Path   string // the rest, without slashes around it; empty for the module's root
}

// ParseURL takes apart a URL such as "rsync://mirror.example.net/tails/".
//
// As in rsync itself, the path is taken as it stands: "%20", "?" and "#" mean
// nothing special. A user name is refused, because a mirror is open to everyone.
func ParseURL(raw string) (URL, error) {
	const scheme = "rsync://"
	if len(raw) < len(scheme) || !strings.EqualFold(raw[:len(scheme)], scheme) {
		return URL{}, fmt.Errorf("rsync URL %q: want rsync://HOST/MODULE/", raw)
	}
	authority, rest, _ := strings.Cut(raw[len(scheme):], "/")
	if strings.Contains(authority, "@") {
		return URL{}, fmt.Errorf("rsync URL %q: want no user name, mirrors are open to everyone", raw)
	}
	host, port, ok := splitAuthority(authority)
	if !ok {
		return URL{}, fmt.Errorf("rsync URL %q: %q is not HOST or HOST:PORT", raw, authority)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return URL{}, fmt.Errorf("rsync URL %q: port %q is not a number from 1 to 65535", raw, port)
	}
	module, below, _ := strings.Cut(rest, "/")
	if err := checkModule(module); err != nil {
		return URL{}, fmt.Errorf("rsync URL %q: %w", raw, err)
	}
	return URL{Host: host, Port: port, Module: module}.Join(below), nil
}

// splitAuthority splits HOST or HOST:PORT. Brackets belong around an IPv6 address, as
// without them its end could be a port, and around nothing else.
func splitAuthority(authority string) (host, port string, ok bool) {
	u, err := url.Parse("rsync://" + authority)
	if err != nil || u.Host != authority || u.Hostname() == "" {
		return "", "", false
	}
	host, port = u.Hostname(), u.Port()
	if port == "" {
		port = DefaultPort
	}
	addr, err := netip.ParseAddr(host)
	isIPv6 := err == nil && addr.Is6() && addr.Zone() == ""
	return host, port, isIPv6 == (authority[0] == '[') && (isIPv6 || !strings.ContainsAny(host, ":%"))
}

// Join returns the URL of what lies at elem below u.
func (u URL) Join(elem string) URL {
	u.Path = strings.TrimPrefix(path.Join("/", u.Path, elem), "/")
	return u
}

// checkModule returns an error if name cannot be the name of a module.
func checkModule(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: no module is named", ErrTarget)
	case strings.ContainsAny(name[:1], "-#"):
		// "#" begins a command; "-" would become an option, since the daemon
		// looks for options among the paths too.
		return fmt.Errorf("%w: module %s begins with %q", ErrTarget, quote(name), name[:1])
	case strings.Contains(name, "/"):
		return fmt.Errorf("%w: module %s contains a slash", ErrTarget, quote(name))
	}
	return checkLine("module", name)
}

// checkTarget returns filePath without needless slashes and dots, or an error if module
// and filePath cannot be requested.
func checkTarget(module, filePath string) (string, error) {
	if err := checkModule(module); err != nil {
		return "", err
	}
	if err := checkLine("path", filePath); err != nil {
		return "", err
	}
	for elem := range strings.SplitSeq(filePath, "/") {
		if elem == ".." {
			return "", fmt.Errorf("%w: path %s climbs with \"..\"", ErrTarget, quote(filePath))
		}
	}
	clean := strings.TrimPrefix(path.Clean("/"+filePath), "/")
	switch {
	case clean == "" || strings.HasSuffix(filePath, "/"):
		return "", fmt.Errorf("%w: path %s is a directory, want a file", ErrTarget, quote(filePath))
	case strings.Contains(clean, " "+module+"/"):
		// The daemon takes this for two paths (util.c, glob_expand_module).
		return "", fmt.Errorf("%w: path %s repeats the module after a space", ErrTarget, quote(filePath))
	case len(module)+len(clean) > maxTarget:
		return "", fmt.Errorf("%w: module and path exceed %d bytes", ErrTarget, maxTarget)
	}
	return clean, nil
}

// checkLine refuses what would not survive as one argument: arguments end with their
// line, and the daemon expands wildcards and may strip backslashes.
func checkLine(what, s string) error {
	for _, r := range s {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`*?[\`, r) {
			return fmt.Errorf("%w: %s %s contains %q", ErrTarget, what, quote(s), r)
		}
	}
	return nil
}
