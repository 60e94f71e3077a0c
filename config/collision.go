package config

import (
	"fmt"
	"strings"
)

// A Collision is a mirror's name at which the zone holds something else.
type Collision struct {
	Mirror int    // index in the pool
	Name   string // of the mirror
	With   string // what else has that name
}

func (c Collision) Error() string {
	return fmt.Sprintf("%q is the name of %s already; want another one", c.Name, c.With)
}

// Collisions returns the mirrors whose name stands for something else in the zone that dns serves: the pool
// itself, a nameserver, or the server's own _status. A wildcard gives way to any mirror's name (RFC 4592).
func (p *Pool) Collisions(dns DNS) []Collision {
	if dns.Zone == "" {
		return nil
	}
	taken := map[string]string{"_status": "the server's own status"}
	for _, name := range dns.Names {
		taken[name] = "the pool (dns.names)"
	}
	for _, ns := range dns.Nameservers {
		if name, ok := strings.CutSuffix(ns, "."+dns.Zone); ok {
			taken[name] = "a nameserver (dns.nameservers)"
		}
	}
	var list []Collision
	for i, m := range p.Mirrors {
		if with, ok := taken[m.Name]; ok && m.Name != "" {
			list = append(list, Collision{i, m.Name, with})
		}
	}
	return list
}
