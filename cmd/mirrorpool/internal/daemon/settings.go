package daemon

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mirrorpool/config"
	"mirrorpool/dnspool/admin"
	"mirrorpool/dnspool/authority"
	"mirrorpool/dnspool/authority/dnssec"
	"mirrorpool/dnspool/certificates"
	"mirrorpool/dnspool/geo"
	"mirrorpool/dnspool/mail"
	"mirrorpool/dnspool/redirector"
)

// newSettings are what the configuration's file comes to.
type newSettings struct {
	config    *config.Server // in force, with what can change while the server runs
	zoneFile  *authority.StaticRecords
	keys      *dnssec.Keys
	ttls      dnssec.TTLs
	feed      newFeed
	token     []byte   // the administrator's
	watchKeys [][]byte // of the group of watchers; nil without one
	warnings  []*config.Error
	answer    admin.SettingsReload
}

// changesKeys reports whether the zone is to be signed otherwise.
func (n *newSettings) changesKeys() bool { return slices.Contains(n.answer.Applied, "dns.dnssec") }

// refuse leaves the old settings in force.
func (n *newSettings) refuse(err error) { n.answer.Error = err.Error() }

// readSettings reads the configuration again, and puts nothing in force. With confirm, signing may be turned off while
// validators expect signatures.
func (d *Daemon) readSettings(confirm bool) newSettings {
	n := newSettings{answer: admin.SettingsReload{Applied: []string{}, Restart: []string{}}}
	if d.o.File == "" {
		return n
	}
	next, warnings, err := config.LoadServer(d.o.File)
	var read *authority.StaticRecords
	if err == nil {
		read, n.token, err = d.readFiles(next)
	}
	if err != nil {
		n.refuse(err)
		return n
	}
	before, zoneFile := d.files()
	now, applied, restart := config.MergeLive(before, next)
	n.config, n.zoneFile = now, zoneFile
	if next.DNS.Zone == now.DNS.Zone { // else it waits for the restart
		n.zoneFile = read
	}
	if err := d.readKeys(&n, next, confirm); err != nil {
		n.refuse(err)
		return n
	}
	for _, key := range d.changedFiles(&n, zoneFile) {
		if !slices.Contains(applied, key) {
			applied = append(applied, key)
		}
	}
	if len(applied)+len(restart) > 0 { // else they are in the log already
		n.warnings = warnings
	}
	n.answer.Applied, n.answer.Restart = append(n.answer.Applied, applied...), append(n.answer.Restart, restart...)
	n.answer.Notes = append(n.answer.Notes, signingNotes(before.DNS.DNSSEC, now.DNS.DNSSEC, n.keys, d.now())...)
	return n
}

// readKeys reads the keys that a new configuration names: of feeds, of the zone, and of the group of watchers.
func (d *Daemon) readKeys(n *newSettings, next *config.Server, confirm bool) (err error) {
	if n.feed, err = d.feeds.prepare(n.config); err != nil {
		return err
	}
	if err := d.readZoneKeys(n, confirm); err != nil {
		return err
	}
	n.watchKeys, err = d.readWatchKeys(next)
	return err
}

// changedFiles are the keys of the configuration under which files hold something else than before. zoneFile is what
// the zone file held.
func (d *Daemon) changedFiles(n *newSettings, zoneFile *authority.StaticRecords) []string {
	changed := d.feeds.changedKeys(n.feed)
	if !n.keys.Same(d.signer.Keys()) {
		changed = append(changed, "dns.dnssec")
	}
	if !n.zoneFile.Same(zoneFile) {
		changed = append(changed, "dns.zone_file")
	}
	if d.admin != nil && !d.admin.HasToken(n.token) {
		changed = append(changed, "admin.token_file")
	}
	if n.watchKeys != nil && !d.watchers.HasKeys(n.watchKeys) {
		changed = append(changed, "watch.key_file")
	}
	return changed
}

// readFiles reads what a new configuration names, but for the keys of feeds. It returns an error if that, or the pool
// in force, does not go with the configuration.
func (d *Daemon) readFiles(next *config.Server) (zoneFile *authority.StaticRecords, token []byte, err error) {
	if err := d.list.Fits(next.DNS); err != nil {
		return nil, nil, err
	}
	if zoneFile, err = authority.LoadZoneFile(next.DNS); err != nil {
		return nil, nil, err
	}
	if token, err = admin.ReadToken(next.Admin.TokenFile); err != nil {
		return nil, nil, err
	}
	if err := mail.Check(next.Mail); err != nil {
		return nil, nil, err
	}
	if err := redirector.CheckBasePath(next.HTTP.BasePath); err != nil {
		return nil, nil, err
	}
	if err := certificates.Check(next); err != nil {
		return nil, nil, err
	}
	return zoneFile, token, checkDatabases(d.config.Load().GeoIP, next.GeoIP)
}

// previewSettings reads the configuration again, and says what a reload would come to. Keys do not change meanwhile.
func (d *Daemon) previewSettings(confirm bool) admin.SettingsReload {
	d.keysChange.Lock()
	defer d.keysChange.Unlock()
	return d.readSettings(confirm).answer
}

// reloadSettings reads the configuration again, and puts in force what can change now.
func (d *Daemon) reloadSettings(confirm bool) admin.SettingsReload {
	d.keysChange.Lock()
	defer d.keysChange.Unlock()
	n := d.readSettings(confirm)
	if n.answer.Error == "" && len(n.answer.Applied) > 0 {
		if err := d.keepSettings(&n); err != nil {
			n.answer = admin.SettingsReload{Applied: []string{}, Restart: []string{}, Error: err.Error()}
		}
	}
	if n.answer.Error != "" {
		d.log.Error("cannot use the configuration; the old one stays in force", zap.String("error", n.answer.Error))
		return n.answer
	}
	logWarnings(d.log, n.warnings)
	if len(n.answer.Restart) > 0 {
		d.log.Warn("the configuration has changes that need a restart", zap.Strings("keys", n.answer.Restart))
	}
	if len(n.answer.Applied) > 0 {
		if slices.ContainsFunc(n.answer.Applied, isFeedKey) {
			d.feeds.apply(n.feed)
		}
		d.apply(&n)
		d.log.Info("configuration has changed", zap.Strings("keys", n.answer.Applied), zap.Strings("notes", n.answer.Notes))
	} else {
		d.applyACME(d.config.Load()) // to try certificates that are missing
	}
	return n.answer
}

// keepSettings does what may still fail before new settings come into force. After an error all is as before.
func (d *Daemon) keepSettings(n *newSettings) error {
	err := d.keepKeys(n)
	if err == nil {
		err = d.list.SetSettings(listSettings(n.config)) // which a list that came meanwhile may not fit
	}
	if before := d.signer.Keys(); err != nil && before != nil && n.changesKeys() { // they sign on
		c := d.config.Load()
		err = errors.Join(err, before.Save(), d.past(d.ttls).Keep(c.StateDir, c.DNS.Zone))
	}
	return err
}

// isFeedKey reports whether a key of the configuration decides what other DNS servers get.
func isFeedKey(key string) bool {
	return slices.Contains([]string{"dns.tsig_keys", "dns.allow_transfer", "dns.notify", "dns.notify_source", "publish"}, key)
}

func (d *Daemon) applyACME(c *config.Server) {
	if d.acme == nil {
		return
	}
	if err := d.acme.SetConfig(c.HTTP.ACME); err != nil {
		d.log.Error("cannot use the new settings of ACME", zap.Error(err)) // its files were good just now
	}
}

// apply puts a configuration in force, which differs from the one before in what can change while the server runs.
func (d *Daemon) apply(n *newSettings) {
	c := n.config
	if level, err := zapcore.ParseLevel(c.Log.Level); err == nil {
		d.o.Level.SetLevel(level)
	}
	if err := d.checker.SetSettings(c.Health); err != nil {
		d.log.Error("cannot use the new settings of the checks", zap.Error(err)) // config lets no such URL pass
	}
	d.handler.SetConfig(c.HTTP)
	d.applyACME(c)
	d.handler.SetFiles(c.Files)
	d.catalog.Sums.SetSettings(checksumSettings(c.Files))
	d.catalog.SetSettings(fileSettings(c.Files))
	d.verifier.SetSettings(verifySettings(c.Files))
	d.places.SetFiles(c.GeoIP)
	d.mailer.SetConfig(c.Mail)
	d.stats.SetKeep(c.Stats.Keep)
	if d.admin != nil {
		d.admin.SetToken(n.token)
	}
	if n.watchKeys != nil {
		if err := d.watchers.SetKeys(n.watchKeys); err != nil {
			d.log.Error("cannot use the new keys of the group of watchers", zap.Error(err)) // they were good just now
		}
	}
	d.setFiles(n)
}

// checkDatabases returns an error if a geographical database is to come from another file, and that is not usable.
func checkDatabases(old, next config.GeoIP) error {
	var errs []error
	for _, f := range [...]struct{ key, old, next string }{
		{"geoip.city", old.City, next.City}, {"geoip.asn", old.ASN, next.ASN},
	} {
		if f.old == f.next {
			continue // the reader reports what is wrong with it
		}
		if err := geo.Check(f.next); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.key, err))
		}
	}
	return errors.Join(errs...)
}
