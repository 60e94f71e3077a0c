package config

import (
	"net/netip"
	"time"
)

// Off is the listener's address that turns a face off.
const Off = "-"

// A Server is a checked mirrorpool.json, with defaults filled in. Paths in it are absolute or
// relative to the working folder, no longer to the file.
type Server struct {
	// Mirrors is where mirrors.json is: a path, or an https URL (http on loopback only).
	Mirrors string
	// MirrorsRefresh is how often an unchanged source is looked at again.
	MirrorsRefresh time.Duration
	// MirrorsKeys are minisign public keys, of which one must have signed mirrors.json. Without any, no signature is
	// asked for.
	MirrorsKeys []string
	// MirrorsGuard is the share of the enabled weight, 0 to 1, that an update may take away without
	// confirmation. 0 turns the guard off.
	MirrorsGuard float64
	// StateDir is the folder in which state survives a restart, or empty for none.
	StateDir string

	DNS       DNS
	HTTP      HTTP
	Selection Selection
	Admin     Admin
	GeoIP     GeoIP
	Health    Health
	Files     Files
	Publish   []Publish
	Mail      *Mail  // nil: none is sent
	Watch     *Watch // nil: by itself
	Stats     Stats
	Log       Log
}

// DNS configures the authoritative server.
type DNS struct {
	Listen      []string // host:port; empty if the face is off
	Zone        string   // lower case, absolute: ends in a dot; may be empty if the face is off
	Names       []string // of the pool: "@", "*", or relative to the zone, lower case
	Nameservers []string // lower case, absolute
	Hostmaster  string   // mailbox as a domain name (RFC 1035 section 3.3.13), absolute
	ZoneFile    string
	TTL         time.Duration // whole seconds
	TTLMin      time.Duration // whole seconds; the least TTL while a verdict is in doubt
	MaxAnswers  int           // at least 1

	UDPSize       int            // bytes, 512 to 4096
	NSID          string         // empty: off
	Version       string         // the answer to version.bind; empty: off
	CookieSecrets []string       // hexadecimal, 16 bytes each; the first makes cookies; none: random
	RateLimit     int            // answers over UDP per second and client network; 0: off
	StatusClients []netip.Prefix // that may ask for the status; nil: this host
	Geo           bool
	Notify        []string     // host:port, or host:port and, after a space, the name of a key: lower case, absolute
	NotifySource  []netip.Addr // where NOTIFY comes from, at most one of each family; none: as the system likes
	AllowTransfer []string     // networks, as netip.ParsePrefix reads them, or key names: lower case, absolute
	TSIGKeys      []string     // paths of BIND key files
	CAA           []CAA        // at the names that lead to mirrors, where the zone file has none
	DNSSEC        *DNSSEC      // nil: the zone is not signed
}

// DNSSEC configures how the zone is signed.
type DNSSEC struct {
	Auto      bool          // a key is made and kept in state_dir
	Keys      []string      // paths of BIND key files, if not Auto
	Algorithm string        // of keys that are made: ECDSAP256SHA256 or ED25519
	Validity  time.Duration // of signatures; whole hours
	OtherKeys []string      // paths of public keys, of other servers that sign the zone
	Withdraw  bool          // ask the parent to remove its DS records
	Leader    string        // dns.nsid or host name of the server that leads rollovers; empty: each for itself
	Resolver  string        // host:port, through which the parent's DS records are seen; empty: this host's
}

// HTTP configures the redirector.
type HTTP struct {
	Listen         []string // host:port; empty if the face is off
	BasePath       string   // begins and ends with a slash; nothing in it is percent-encoded
	TrustedProxies []netip.Prefix
	Sticky         time.Duration
	StickySecret   string // empty: random
	PublicStats    bool   // PATH?mirrorstats shows numbers of the mirrors
	NoMetalinks    bool   // PATH.meta4 and PATH.metalink are files of the mirrors, as others are
	WellKnown      string // folder of what is below /.well-known/; empty: nothing
	TLS            *TLS
	ACME           *ACME // of TLS, in a field of its own because it can change while the server runs
}

// TLS has the redirector speak https.
type TLS struct {
	Cert, Key string        // PEM files; both empty: certificates come by ACME alone
	Listen    []string      // host:port, where https is answered; empty: at HTTP.Listen, instead of http
	Only      bool          // http at HTTP.Listen leads to https, for the names of the certificate
	HSTS      time.Duration // RFC 6797, in whole seconds; 0: off
}

// ACME has the redirector get certificates by itself (RFC 8555).
type ACME struct {
	Names       []string // lower case, without a final dot; a label "*" may be the first
	Email       string
	Directories []string // https URLs (http on loopback only), in the order in which they are tried
	EABKeyID    string   // of the external account, for authorities that require one; empty: none
	EABKeyFile  string   // has its key, in base64url
	Challenge   string   // the only one to use, such as "dns-01"; empty: whichever works
	CARoot      string   // a PEM file: what else than the system's roots the directories' certificates may come from
}

// Selection bounds how much nearness decides.
type Selection struct {
	Geo           bool
	Near          float64 // at least 1
	MinCandidates int     // at least 1
	MaxShare      float64 // above 0, at most 1
	MaxLoad       float64 // share of the requests that are redirected while few mirrors are up; 0: all
}

// Admin configures the administrator's listener.
type Admin struct {
	Listen    string // host:port, or "unix:" and an absolute path; empty if off
	TokenFile string
}

// GeoIP names MaxMind DB files. An empty path means none.
type GeoIP struct{ City, ASN string }

// Health configures the checks.
type Health struct {
	Enabled        bool
	Interval       time.Duration
	Timeout        time.Duration
	Rise, Fall     int
	StartupTimeout time.Duration
	Path           string // relative to each url_prefix, without a slash before it
	ReferenceURL   string
	MaxLag         time.Duration
	MaxAge         time.Duration // 0: off
	DNSURL         string        // with {zone} replaced by the zone, without its final dot; empty if there is no zone
	PanicThreshold float64       // 0 to 1
	AllowPrivate   bool
	AddressGrace   time.Duration // for which an address that passes serves on after DNS has dropped it
	MaxUnresolved  time.Duration // after which a host that cannot be resolved is not redirected to
	Proxy          string        // host:port of a SOCKS5 proxy, through which mirrors are checked; empty: directly
	Source         []string      // addresses of this host, at most one of each family, or one interface; none: as the system likes
	Family         string        // "ipv4" or "ipv6", the only one in which mirrors are checked; empty: both
	UserAgent      string        // of the probes
}

// Publish is one target of dynamic updates (RFC 2136).
type Publish struct {
	Server     string // host:port
	Zone       string // absolute
	Names      []string
	TTL        time.Duration
	MaxAnswers int
	TSIG       string       // path of a BIND key file
	Source     []netip.Addr // where updates come from, at most one of each family; none: as the system likes
	Reconcile  string       // "enforce" (undo foreign changes) or "report"
}

// Mail configures what is sent about mirrors in trouble.
type Mail struct {
	Server    string        // host:port of the SMTP server
	TLS       bool          // from the first byte (smtps); otherwise with STARTTLS, which a login to another host requires
	LoginFile string        // has the user in its first line and the password in its second; empty: no login
	From      string        // an address
	Team      string        // the address of the mirror team
	Operators bool          // write to the mirrors' own addresses, too
	After     time.Duration // for how long a mirror has to be in trouble
	Digest    time.Duration // since midnight, local time, when the daily digest is sent; -1: never
}

// Stats configures the numbers of downloads.
type Stats struct {
	Keep time.Duration // in whole days; 0: nothing is counted
}

// Log configures what is written to standard error.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // auto, json or console
}
