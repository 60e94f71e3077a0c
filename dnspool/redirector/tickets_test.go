package redirector

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mirrorpool/dnspool/certificates"
)

// TestTicketsAreRotated runs a server for a day of simulated time: the keys of session tickets change every 8 hours,
// and none is older than a day.
func TestTicketsAreRotated(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ticketkeys")
	synctest.Test(t, func(t *testing.T) {
		s := &Server{certificates: certificates.Fixed{}} // without sockets: they know no simulated time
		s.tickets = certificates.NewTickets(file, time.Now(), zap.NewNop(), new(tls.Config))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		began := []byte(time.Now().UTC().Format(time.RFC3339)) // of the first key, in the file
		changes := 0
		before := readFile(t, file)
		if !bytes.Contains(before, began) {
			t.Fatalf("no key of %s in %s", began, before)
		}
		for range 24*60 + 2 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if now := readFile(t, file); !bytes.Equal(now, before) {
				before = now
				changes++
			}
		}
		if changes != 3 || bytes.Contains(before, began) {
			t.Errorf("%d changes in a day, want 3; the first key is still known: %v", changes, bytes.Contains(before, began))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
