package checking

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/safefile"
	"mirrorpool/config/statefile"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/authority/transfer"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/geo"
	"mirrorpool/dnspool/mail"
	"mirrorpool/dnspool/publish"
	"mirrorpool/dnspool/redirector"
	"mirrorpool/dnspool/tsig"
	"mirrorpool/health/files"
	"mirrorpool/health/watch"
)

// openErrors opens what a valid mirrorpool.json names, as the server does at its start, and returns what fails, at the
// key that names it.
func openErrors(in *input) []*config.Error {
	c := in.server
	opens := []struct {
		pointer string
		open    func() error
	}{
		{"/mirrors", func() error { return openList(c.Mirrors) }},
		{"/state_dir", func() error { return checkStateDir(c) }},
		{"/dns/zone_file", func() error { _, err := authority.LoadZoneFile(c.DNS); return err }},
		{"/dns/tsig_keys", func() error { _, err := tsig.Load(c.DNS.TSIGKeys...); return err }},
		{"/dns/dnssec", func() error { return checkKeys(c) }},
		{"/dns/allow_transfer", func() error { return checkTransferKeys(c) }},
		{"/dns/notify", func() error { return checkNotifyKeys(c) }},
		{"/publish", func() error { _, err := publish.NewPublisher(c.Publish, zap.NewNop()); return err }},
		{"/http/base_path", func() error { return redirector.CheckBasePath(c.HTTP.BasePath) }},
		{"/http/well_known", func() error { return redirector.CheckWellKnown(c.HTTP.WellKnown) }},
		{"/http/tls", func() error { return openCertificate(c.HTTP.TLS) }},
		{"/http/tls/acme", func() error { return checkACME(c) }},
		{"/admin/token_file", func() error { _, err := admin.ReadToken(c.Admin.TokenFile); return err }},
		{"/mail/login_file", func() error { return mail.Check(c.Mail) }},
		{"/watch/key_file", func() error { return openWatchKeys(c.Watch) }},
		{"/geoip/city", func() error { return geo.Check(c.GeoIP.City) }},
		{"/geoip/asn", func() error { return geo.Check(c.GeoIP.ASN) }},
		{"/files/origin", func() error { return openOrigin(c.Files.Origin) }},
	}
	var list []*config.Error
	for _, o := range opens {
		if err := o.open(); err != nil {
			list = append(list, config.ErrorAt(in.name, in.text, o.pointer, err))
		}
	}
	return list
}

// checkStateDir returns an error if state_dir, or a folder of certificates in it, cannot be used.
func checkStateDir(c *config.Server) error {
	if err := statefile.CheckFolder(c.StateDir); err != nil || c.StateDir == "" {
		return err
	}
	return certificates.CheckFolders(c, filepath.Join(c.StateDir, "certificates"))
}

// openList reads the list of mirrors if it is a file. What is in it is checked for itself.
func openList(path string) error {
	if strings.Contains(path, "://") {
		return nil
	}
	_, err := config.ReadFile(path)
	return err
}

// openOrigin looks into the project's files if they are in a folder.
func openOrigin(origin string) error {
	if origin == "" || strings.Contains(origin, "://") {
		return nil
	}
	return files.StatFolder(origin, ".")
}

// checkKeys returns an error if the zone's keys cannot be used, or not after those that signed it before.
func checkKeys(c *config.Server) error {
	keys, err := dnssec.Read(c.DNS, c.StateDir, time.Now())
	switch {
	case err != nil:
		return err
	case keys == nil:
		return checkUnsigned(c)
	}
	past, err := dnssec.Recall(c.StateDir, c.DNS.Zone)
	if err != nil {
		return err
	}
	now := time.Now()
	return cmp.Or(keys.CheckStart(&past, now), keys.CheckRemovals(&past.Parent, past.TTLs.Held(now), now))
}

// checkUnsigned returns an error if a start would be refused that does not sign the zone any more, as far as the
// parent's DS records are remembered.
func checkUnsigned(c *config.Server) error {
	past, err := dnssec.Recall(c.StateDir, c.DNS.Zone)
	if seen := &past.Parent; err == nil && (len(seen.Since) > 0 || time.Now().Before(seen.CachedUntil())) {
		return fmt.Errorf("%s was signed before, and its parent, as it was seen at %s, has DS records, or caches may have them: a start is "+
			"refused; leave dns.dnssec in until mirrorpool dnssec status says that it can go", c.DNS.Zone,
			seen.Latest.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkTransferKeys returns an error if allow_transfer names a key that no key file has. Key files that cannot be read
// have been reported.
func checkTransferKeys(c *config.Server) error {
	keys, err := tsig.Load(c.DNS.TSIGKeys...)
	if err != nil {
		return nil
	}
	_, err = transfer.NewServer(c.DNS, keys, "", zap.NewNop())
	return err
}

// checkNotifyKeys is checkTransferKeys for notify.
func checkNotifyKeys(c *config.Server) error {
	keys, err := tsig.Load(c.DNS.TSIGKeys...)
	if err != nil {
		return nil
	}
	_, err = publish.NewNotifier(c.DNS, keys, zap.NewNop())
	return err
}

func openWatchKeys(w *config.Watch) error {
	if w == nil {
		return nil
	}
	_, err := watch.ReadKeys(w.KeyFile)
	return err
}

func openCertificate(files *config.TLS) error {
	if files == nil || files.Cert == "" {
		return nil
	}
	_, err := certificates.LoadFiles(*files)
	return err
}

// openWarnings warns of a configuration that other users can read although it holds secrets, of a zone in which mirrors
// can get certificates or in which we cannot, and of an answer that says less than it seems because root may open
// everything.
func openWarnings(in *input) []*config.Error {
	var list []*config.Error
	warn := func(kind config.WarningKind, pointer, format string, args ...any) {
		w := config.ErrorAt(in.name, in.text, pointer, fmt.Errorf(format, args...))
		w.Kind = kind
		list = append(list, w)
	}
	if safefile.Exposed(in.name) {
		for pointer, set := range map[string]bool{
			"/dns/cookie_secret": len(in.server.DNS.CookieSecrets) > 0, "/http/sticky_secret": in.server.HTTP.StickySecret != "",
		} {
			if set {
				warn(config.WarnExposedSecret, pointer, "other users can read this secret; run: chmod o-rwx %s", in.name)
			}
		}
	}
	if name, operator := nameWithoutCAA(in.server); name != "" {
		warn(config.WarnNoCAA, "/dns", `the operator of %s can get a certificate for %s, where its server answers; want "caa", such as `+
			`["0 issue \"letsencrypt.org; validationmethods=dns-01\""], unless the zone above has such a record`, operator, name)
	}
	for i := range in.server.Publish {
		warn(config.WarnNoCAA, fmt.Sprintf("/publish/%d", i), "the operator of any mirror can get a certificate for %s, where its "+
			"server answers; want a CAA record that forbids it in that zone, which is not visible here", publishedName(&in.server.Publish[i]))
	}
	for _, name := range refusedByCAA(in.server) {
		warn(config.WarnCAARefuses, "/http/tls/acme/names", "CAA records of the zone keep the authority in "+
			"http.tls.acme.directory from issuing for %s; want a dns.caa or zone file that lets it", name)
	}
	if n := keysOfTheirOwn(in.server); n > 1 {
		warn(config.WarnNoLeader, "/dns/dnssec", `the zone has %d nameservers, each of which makes a key of its own if all run mirrorpool, so `+
			`that validators refuse the others; want "leader", the dns.nsid or host name of the one that makes keys`, n)
	}
	if ending := keysEnding(in.server); ending != "" {
		warn(config.WarnKeysEnd, "/dns/dnssec", "%s", ending)
	}
	if os.Geteuid() == 0 && namesSecrets(in.server) {
		warn(config.WarnAsRoot, "", "files were opened as root, whose rights the server may not have; give --as USER")
	}
	return list
}

// keysEnding says that keys end soon that no others follow, or is "". Keys that cannot be read have been reported.
func keysEnding(c *config.Server) string {
	keys, err := dnssec.Read(c.DNS, c.StateDir, time.Now())
	if err != nil || keys == nil {
		return ""
	}
	return keys.EndsSoon(time.Now())
}

// keysOfTheirOwn is how many nameservers of the zone may make keys of their own. Secondaries make none, but members of
// a group of watchers do.
func keysOfTheirOwn(c *config.Server) int {
	secondaries := len(c.DNS.Notify)+len(c.DNS.AllowTransfer) > 0
	if c.DNS.DNSSEC == nil || !c.DNS.DNSSEC.Auto || c.DNS.DNSSEC.Leader != "" || secondaries && c.Watch == nil {
		return 0
	}
	zoneFile, err := authority.LoadZoneFile(c.DNS)
	if err != nil { // which has been reported
		return 0
	}
	return len(authority.Nameservers(c.DNS, zoneFile))
}

// nameWithoutCAA returns the first of the pool's names, or else of the mirrors' own ones, that lacks CAA records which
// keep operators of mirrors from getting certificates for it, and whose operators; or "". A zone that is served on this
// host alone, for a trial, needs none.
func nameWithoutCAA(c *config.Server) (name, operator string) {
	zoneFile, err := authority.LoadZoneFile(c.DNS)
	if err != nil || !servesOthers(&c.DNS) { // a zone file that cannot be read has been reported
		return "", ""
	}
	if name := authority.NameWithoutCAA(c.DNS, zoneFile); name != "" {
		return name, "any mirror"
	}
	return authority.MirrorWithoutCAA(c.DNS, zoneFile, mirrorNames(c.Mirrors)), "a mirror"
}

// mirrorNames returns the names in the zone of the mirrors in a file; none if the list is not in a file, or invalid.
func mirrorNames(file string) (names []string) {
	if strings.Contains(file, "://") {
		return nil
	}
	text, err := config.ReadFile(file)
	if err != nil {
		return nil
	}
	if pool, _, err := config.ParsePool(file, text); err == nil {
		for i := range pool.Mirrors {
			names = append(names, pool.Mirrors[i].Name)
		}
	}
	return names
}

// publishedName returns the first name of a target of updates.
func publishedName(p *config.Publish) string {
	if len(p.Names) == 0 || p.Names[0] == "@" {
		return p.Zone
	}
	return p.Names[0] + "." + p.Zone
}

// servesOthers reports whether other hosts can ask our DNS server, or secondaries that get the zone from it.
func servesOthers(c *config.DNS) bool {
	if len(c.Listen) > 0 && len(c.Notify)+len(c.AllowTransfer) > 0 {
		return true
	}
	return slices.ContainsFunc(c.Listen, func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		return err == nil && !config.IsLoopback(host)
	})
}

// namesSecrets reports whether a configuration names files that only some users can read.
func namesSecrets(c *config.Server) bool {
	publishes := false
	for i := range c.Publish {
		publishes = publishes || c.Publish[i].TSIG != ""
	}
	return publishes || len(c.DNS.TSIGKeys) > 0 || c.DNS.DNSSEC != nil || c.HTTP.TLS != nil || c.Admin.TokenFile != "" || c.Watch != nil ||
		c.Mail != nil && c.Mail.LoginFile != "" || isFolder(c.StateDir)
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return path != "" && err == nil && info.IsDir()
}
