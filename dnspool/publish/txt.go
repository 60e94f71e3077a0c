package publish

import (
	"context"
	"net"
	"time"

	"github.com/miekg/dns"

	"mirrorpool/config"
	"mirrorpool/dnspool/tsig"
)

const (
	txtTTL = 60 // seconds
	// secondaryTime is how long the secondaries of a zone are given to transfer a change after NOTIFY.
	secondaryTime = 10 * time.Second
)

// A TXT adds TXT records to the zone of a target, and removes them, for challenges of certificate authorities.
type TXT struct {
	peer
	zone string
}

// NewTXT reads the key of a target. It opens no socket.
func NewTXT(c config.Publish) (*TXT, error) {
	var key *tsig.Key
	if c.TSIG != "" {
		var err error
		if key, err = tsig.LoadOne(c.TSIG); err != nil {
			return nil, err
		}
	}
	return &TXT{newPeer(c.Server, c.Source, key), c.Zone}, nil
}

// AddTXT adds a record. If the zone has several nameservers, it gives them time to take it over.
func (t *TXT) AddTXT(ctx context.Context, name, value string) error {
	if err := t.update(ctx, func(m *dns.Msg) { m.Insert([]dns.RR{txt(name, value)}) }); err != nil {
		return err
	}
	servers, err := t.nameservers(ctx)
	if err != nil || servers < 2 {
		return err
	}
	select {
	case <-time.After(secondaryTime):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RemoveTXT removes a record.
func (t *TXT) RemoveTXT(ctx context.Context, name, value string) error {
	return t.update(ctx, func(m *dns.Msg) { m.Remove([]dns.RR{txt(name, value)}) })
}

func txt(name, value string) dns.RR {
	return &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: txtTTL}, Txt: []string{value}}
}

// update sends an update to which change adds what is to change.
func (t *TXT) update(ctx context.Context, change func(*dns.Msg)) error {
	step := "update of " + t.zone
	m := new(dns.Msg).SetUpdate(t.zone)
	change(m)
	_, err := t.ask(ctx, step, m)
	return err
}

// nameservers returns how many the zone has.
func (t *TXT) nameservers(ctx context.Context) (int, error) {
	resp, err := t.ask(ctx, "query for the nameservers of "+t.zone, new(dns.Msg).SetQuestion(t.zone, dns.TypeNS))
	if err != nil {
		return 0, err
	}
	return len(resp.Answer), nil
}

// ask sends a request over a connection of its own. A response that is not good is an error.
func (t *TXT) ask(ctx context.Context, step string, req *dns.Msg) (resp *dns.Msg, err error) {
	var conn net.Conn
	if conn, err = t.dial(ctx, "tcp"); err != nil {
		return nil, err
	}
	defer conn.Close()
	if resp, err = t.exchange(ctx, conn, step, req); err != nil {
		return nil, err
	}
	if resp.Rcode != dns.RcodeSuccess {
		return nil, t.refused(step, resp.Rcode)
	}
	return resp, nil
}
