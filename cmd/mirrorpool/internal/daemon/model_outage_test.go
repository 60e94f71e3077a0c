package daemon

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/dnspool/mail"
	"mirrorpool/health"
	"mirrorpool/health/ledger"
)

// TestOutageOfOurs has all mirrors fail at once, as with the network of this host, which then comes back: all of it, or
// the way to two mirrors a few minutes later. It leaves no incident, and no mail. Where the pool is one mirror, it is
// that.
func TestOutageOfOurs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		outage    time.Duration
		hosts     int
		late      []int // hosts that come back minutes later
		mood      mood
		incidents int
	}{
		"for 2 h":                       {2 * time.Hour, 8, nil, unreachable, 0},
		"for 20 min":                    {20 * time.Minute, 8, nil, unreachable, 0},
		"for 2 h, and it ends by parts": {2 * time.Hour, 8, []int{1, 3}, unreachable, 0},
		"of the only mirror":            {3 * time.Hour, 1, nil, fails, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, dir, test.hosts)
				if err := m.start(); err != nil {
					t.Fatal(err)
				}
				defer func() { m.stop() }()
				sent := m.runMailer(t)
				time.Sleep(2 * time.Hour)
				m.world.changeAll(test.mood)
				time.Sleep(test.outage)
				m.world.changeAll(passes)
				if len(test.late) > 0 {
					m.world.hold(test.late, test.mood)
					time.Sleep(3 * time.Minute)
					m.world.changeAll(passes)
				}
				time.Sleep(30 * time.Minute)
				found := 0
				for _, s := range m.ledger.Summaries(time.Time{}, m.time()) {
					for _, in := range s.Incidents {
						if in.Kind == ledger.Down || in.Kind == ledger.Stale {
							found++
							if test.incidents == 0 {
								t.Errorf("%s: %+v", s.URLPrefix, in)
							}
						}
					}
				}
				if found != test.incidents {
					t.Errorf("%d incidents, want %d", found, test.incidents)
				}
				for _, subject := range sent() {
					t.Errorf("a mail: %s", subject)
				}
			})
		})
	}
}

// hold has some hosts in a mood in the roles http and dns.
func (w *world) hold(hosts []int, mood mood) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range hosts {
		for _, addr := range hostAddresses(host, true) {
			w.moods[key(host, addr, health.HTTP)], w.moods[key(host, addr, health.DNS)] = mood, mood
		}
	}
}

// runMailer runs a mailer on the model until the end of the test, and returns the subjects of what it has sent.
func (m *model) runMailer(t *testing.T) (sent func() []string) {
	var subjects []string
	ctx, cancel := context.WithCancel(context.Background())
	mailer := mail.New(mail.Options{
		Config: &config.Mail{From: "a@example.org", Team: "team@example.org", Operators: true, After: time.Hour, Digest: -1},
		View:   m.mailView, Log: zap.NewNop(),
		Send: func(_ context.Context, _ *config.Mail, message *mail.Message) error {
			subjects = append(subjects, message.Subject)
			return nil
		},
	})
	done := make(chan error, 1)
	go func() { done <- mailer.Run(ctx) }()
	return func() []string {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		return subjects
	}
}
