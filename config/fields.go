package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// An object reads the members of an object of the document. Each reader leaves its target alone if
// the key is absent or was found wrong, so that the target keeps its default and no fault is reported
// twice. An object that is absent, or not an object, has no members.
type object struct {
	c    *checker
	node *node // nil if absent
}

// get gives the member at key, or nil if it is absent or faulty.
func (o object) get(key string) *node {
	if o.node == nil {
		return nil
	}
	if n := o.node.member(key); n != nil && !o.c.bad[n] {
		return n
	}
	return nil
}

// object gives the object at key.
func (o object) object(key string) object {
	if o.node == nil {
		return object{c: o.c}
	}
	return object{o.c, o.node.member(key)}
}

// items gives the items of the list at key, without faulty ones.
func (o object) items(key string) []*node {
	n := o.get(key)
	if n == nil {
		return nil
	}
	var good []*node
	for _, item := range n.order {
		if !o.c.bad[item] {
			good = append(good, item)
		}
	}
	return good
}

func (o object) string(key string, to *string) *node {
	n := o.get(key)
	if n != nil {
		*to = n.text()
	}
	return n
}

func (o object) bool(key string, to *bool) {
	if n := o.get(key); n != nil {
		*to = n.value == true
	}
}

func (o object) float(key string, to *float64) {
	if n := o.get(key); n != nil {
		*to = n.float()
	}
}

func (o object) int(key string, to *int) {
	if n := o.get(key); n != nil {
		*to = int(n.float())
	}
}

// duration reads a duration from least to most, in multiples of unit.
func (o object) duration(key string, to *time.Duration, least, most, unit time.Duration) *node {
	n := o.get(key)
	if n == nil {
		return nil
	}
	d, err := ParseDuration(n.text())
	if err != nil || d < least || d > most {
		o.c.fail(n, "want a duration from %s to %s, got %s", short(least), short(most), quote(n.text()))
		return nil
	}
	if d%unit != 0 {
		o.c.fail(n, "want a multiple of %s, got %s", short(unit), quote(n.text()))
		return nil
	}
	*to = d
	return n
}

// ParseDuration is [time.ParseDuration], and takes whole days, too: "30d".
func ParseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * day, err
	}
	return time.ParseDuration(text)
}

// short writes a duration without the units that are zero: 24h rather than 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// path reads the path of a file, and makes it relative to the folder of the document.
func (o object) path(key string, to *string) {
	if n := o.get(key); n != nil {
		*to = o.c.resolve(n)
	}
}

// resolve makes a path relative to the folder of the document. An empty one stays empty.
func (c *checker) resolve(n *node) string {
	path := n.text()
	if strings.ContainsFunc(path, unicode.IsControl) {
		c.fail(n, "want a path without control characters, got %s", quote(path))
		return ""
	}
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.file), path)
}

// networks reads a list of networks and addresses.
func (o object) networks(key string, to *[]netip.Prefix) {
	if o.get(key) == nil {
		return
	}
	list := []netip.Prefix{} // not nil, which means that the key is missing
	for _, n := range o.items(key) {
		s := n.text()
		p, err := parseNetwork(s)
		if err != nil {
			o.c.fail(n, `want a network such as "192.0.2.0/24", or an IP address, got %s (%v)`, quote(s), err)
			continue
		}
		if p != p.Masked() {
			o.c.warn(n, WarnNetworkBits, "%s has bits beyond its length; taken as %s", quote(s), p.Masked())
		}
		list = append(list, p.Masked())
	}
	*to = list
}

// sources reads the addresses of this host that connections are made from, at most one of each family.
func (o object) sources(key string, to *[]netip.Addr) {
	for _, n := range o.items(key) {
		s := n.text()
		addr, err := netip.ParseAddr(s)
		addr = addr.Unmap()
		switch {
		case err != nil:
			err = errors.New("not an address")
		case addr.IsUnspecified() || addr.IsMulticast():
			err = errors.New("not an address of a host")
		case slices.ContainsFunc(*to, func(other netip.Addr) bool { return other.Is4() == addr.Is4() }):
			err = errors.New("there is one of that family already")
		}
		if err != nil {
			o.c.fail(n, `want an address of this host, such as "192.0.2.1", one of each family at most, got %s (%v)`, quote(s), err)
			continue
		}
		*to = append(*to, addr)
	}
}

// listeners reads where a face listens, a list of addresses or "-".
func (o object) listeners(key string, to *[]string) {
	n := o.get(key)
	if n == nil {
		return
	}
	if n.value == Off || len(n.order) == 1 && n.order[0].value == Off {
		*to = nil
		return
	}
	var list []string
	for _, item := range o.items(key) {
		s := item.text()
		address, err := parseListener(s)
		if s == Off {
			err = fmt.Errorf("%q stands alone, to turn it off", Off)
		}
		if err != nil {
			o.c.fail(item, `want an address such as "127.0.0.1:5300" or "[::1]:5300", got %s (%v)`, quote(s), err)
			continue
		}
		list = append(list, address)
	}
	*to = list
}
