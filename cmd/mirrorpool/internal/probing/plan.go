package probing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/source"
)

// A Plan says what to probe, and how.
type Plan struct {
	Warnings []string
	settings config.Health
	probed   *config.Pool // all that are looked at
	shown    *config.Pool // those of them that were asked for
	files    config.Files // where to read what the mirrors should have; no origin: nowhere
	asServed bool         // with health.enabled false, every mirror is up
}

// ReadPool reads the list of mirrors as the server does, but neither looks at what a server has kept of it nor
// keeps it.
func ReadPool(ctx context.Context, c *config.Server) (*config.Pool, error) {
	list, err := source.New(source.Options{
		Source: c.Mirrors, Settings: source.Settings{Refresh: c.MirrorsRefresh, DNS: c.DNS, Keys: c.MirrorsKeys},
		Log: zap.NewNop(), Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	if err := list.Start(ctx); err != nil {
		return nil, err
	}
	return list.Pool(), nil
}

// PlanPool plans to probe those mirrors of the pool that args name, all if there are none.
func PlanPool(settings config.Health, pool *config.Pool, args []string) (*Plan, error) {
	shown, err := selectMirrors(pool, args)
	if err != nil {
		return nil, err
	}
	plan := &Plan{settings: settings, shown: shown, probed: pool}
	if !settings.Enabled {
		plan.Warnings = append(plan.Warnings, "health.enabled is false: a server takes every mirror for up, whatever comes of this")
	}
	if len(args) > 0 {
		plan.probed = withVoters(shown, pool, settings.ReferenceURL)
	}
	return plan, nil
}

// withVoters adds to the mirrors shown those that have a say in what the reference is, which only their trace
// files tell.
func withVoters(shown, pool *config.Pool, referenceURL string) *config.Pool {
	if referenceURL != "" {
		return shown
	}
	probed := &config.Pool{Mirrors: slices.Clone(shown.Mirrors)}
	for _, m := range pool.Mirrors {
		isShown := slices.ContainsFunc(shown.Mirrors, func(s config.Mirror) bool { return s.URLPrefix == m.URLPrefix })
		if isShown || !m.Enabled() {
			continue
		}
		m.RsyncURL = ""
		m.DNS.Off = true
		probed.Mirrors = append(probed.Mirrors, m)
	}
	return probed
}

// selectMirrors returns the mirrors that args name, in the order of the pool; all if there are no args. Each
// of them names one by its url_prefix or name, or all at a host.
func selectMirrors(pool *config.Pool, args []string) (*config.Pool, error) {
	if len(args) == 0 {
		return pool, nil
	}
	wanted := make([]bool, len(pool.Mirrors))
	var errs []error
	for _, arg := range args {
		found := false
		means := meaning(arg)
		for i := range pool.Mirrors {
			if means(&pool.Mirrors[i]) {
				wanted[i], found = true, true
			}
		}
		if !found {
			errs = append(errs, unknownMirror(pool, arg))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	selected := &config.Pool{}
	for i, m := range pool.Mirrors {
		if wanted[i] {
			selected.Mirrors = append(selected.Mirrors, m)
		}
	}
	return selected, nil
}

// meaning returns the mirrors that arg means.
func meaning(arg string) func(*config.Mirror) bool {
	if !strings.Contains(arg, "://") {
		return func(m *config.Mirror) bool {
			return slices.ContainsFunc(namesOf(m), func(name string) bool { return strings.EqualFold(name, arg) })
		}
	}
	prefix := arg
	one := OneMirror{URLPrefix: arg}
	if pool, _, err := one.pool(); err == nil {
		prefix = pool.Mirrors[0].URLPrefix // in its normal form
	}
	return func(m *config.Mirror) bool { return m.URLPrefix == prefix }
}

// namesOf is how m can be called, besides its url_prefix.
func namesOf(m *config.Mirror) []string {
	names := []string{m.URL.Hostname(), m.URL.Host}
	if m.Name != "" {
		names = append(names, m.Name)
	}
	return names
}

// maxSuggested is how many mirrors are suggested in place of one that is unknown.
const maxSuggested = 3

func unknownMirror(pool *config.Pool, arg string) error {
	suggestions := suggest(pool, arg)
	if len(suggestions) == 0 {
		return fmt.Errorf("no mirror %q in the pool; want its url_prefix, name or host", arg)
	}
	return fmt.Errorf("no mirror %q in the pool; did you mean %s?", arg, strings.Join(suggestions, " or "))
}

// suggest returns the mirrors that arg may stand for, the most similar first.
func suggest(pool *config.Pool, arg string) []string {
	type candidate struct {
		text  string
		edits int
	}
	var near []candidate
	arg = strings.ToLower(arg)
	for i := range pool.Mirrors {
		m := &pool.Mirrors[i]
		for _, name := range append(namesOf(m), m.URLPrefix) {
			edits := config.EditDistance(arg, strings.ToLower(name))
			if edits <= max(1, len(arg)/4) || len(arg) > 2 && strings.Contains(name, arg) {
				near = append(near, candidate{name, edits})
			}
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(a.edits, b.edits) })
	var texts []string
	for _, c := range near {
		if !slices.Contains(texts, c.text) && len(texts) < maxSuggested {
			texts = append(texts, c.text)
		}
	}
	return texts
}

// A OneMirror is what the flags say of a mirror that is in no pool.
type OneMirror struct {
	URLPrefix, RsyncURL string
	IPs                 []string
	DNSURL, Path        string
	Timeout             time.Duration
	AllowPrivate        bool
}

// Plan plans to probe the mirror.
func (o *OneMirror) Plan() (*Plan, error) {
	settings, settingsErr := o.settings()
	pool, warnings, err := o.pool()
	if err = errors.Join(settingsErr, err); err != nil {
		return nil, err
	}
	return &Plan{settings: settings, probed: pool, shown: pool, Warnings: warnings}, nil
}

// pool returns a pool with this mirror alone, which package config has checked as if it were in a file.
func (o *OneMirror) pool() (*config.Pool, []string, error) {
	mirror := map[string]any{"url_prefix": o.URLPrefix, "weight": 1}
	if o.RsyncURL != "" {
		mirror["rsync_url"] = o.RsyncURL
	}
	if len(o.IPs) > 0 {
		mirror["dns"] = map[string]any{"addresses": o.IPs}
	}
	text, err := json.Marshal(map[string]any{"version": 1, "mirrors": []any{mirror}})
	if err != nil {
		return nil, nil, err
	}
	pool, faults, err := config.ParsePool("command line", text)
	var warnings []string
	for _, w := range faults {
		if flag := flagOf(w.Pointer); flag != "" {
			warnings = append(warnings, fmt.Sprintf("%s: %v", flag, w.Err))
		}
	}
	return pool, warnings, blameFlags(err)
}

// settings returns how to probe, checked as if it were in a server's configuration.
func (o *OneMirror) settings() (config.Health, error) {
	settings := map[string]any{"path": o.Path, "timeout": o.Timeout.String(), "allow_private": o.AllowPrivate}
	if o.DNSURL != "" {
		settings["dns_url"] = o.DNSURL
	}
	text, err := json.Marshal(map[string]any{"dns": map[string]any{"listen": []string{config.Off}}, "health": settings})
	if err != nil {
		return config.Health{}, err
	}
	server, _, err := config.ParseServer("command line", text)
	if err != nil {
		return config.Health{}, blameFlags(err)
	}
	return server.Health, nil
}

// flagPointers are where the values of flags stand in the files that are made of them.
var flagPointers = regexp.MustCompile(`^/(?:mirrors/0/(?:(url_prefix)|(rsync_url)|dns/(addresses).*)|health/(path|timeout|dns_url))$`)

// flagOf returns the flag that the value at pointer comes from, or "".
func flagOf(pointer string) string {
	for i, key := range flagPointers.FindStringSubmatch(pointer) {
		switch {
		case i == 0 || key == "":
		case key == "addresses":
			return "--ip"
		default:
			return "--" + strings.ReplaceAll(key, "_", "-")
		}
	}
	return ""
}

// blameFlags names flags in an error of package config, instead of places in a generated file.
func blameFlags(err error) error {
	var errs []error
	for _, e := range config.Errors(err) {
		if flag := flagOf(e.Pointer); flag != "" {
			errs = append(errs, fmt.Errorf("%s: %v", flag, e.Err))
		} else {
			errs = append(errs, e)
		}
	}
	return errors.Join(errs...)
}
