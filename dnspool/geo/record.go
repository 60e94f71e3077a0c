package geo

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2/mmdbdata"

	"mirrorpool/dnspool"
)

// maxEntries is how many entries of a map are looked at. A record of a City database has about ten.
const maxEntries = 256

var errTooLarge = errors.New("a map in it has too many entries")

// A record is what a database says of a network, as far as it matters. Of a city and an ASN database, one record
// takes both.
type record struct {
	place      dnspool.Place
	registered dnspool.Code // the country where the network is registered, which is not always where it is
}

// read adds what db knows of addr, and returns the network of which that is true. db may be nil. What is wrong in the
// database is not known.
func (r *record) read(db *maxminddb.Reader, addr netip.Addr) netip.Prefix {
	if db == nil {
		return netip.Prefix{}
	}
	result := db.Lookup(addr)
	if result.Err() != nil {
		return netip.Prefix{} // an IPv6 address in a database of IPv4, for one
	}
	if result.Found() {
		_ = result.Decode(r)
	}
	network := result.Prefix()
	if addr = addr.Unmap(); addr.Is4() && !network.Addr().Is4() {
		// One leaf of the tree is all of IPv4, and what is beside it.
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return network
}

// UnmarshalMaxMindDBCursor reads a record. It is called by maxminddb.
func (r *record) UnmarshalMaxMindDBCursor(at mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	next, err := eachEntry(at, r.field)
	if r.place.Country == (dnspool.Code{}) {
		r.place.Country = r.registered
	}
	return next, mmdbdata.NormalizeUnmarshalError[record](err)
}

// field reads a field of MaxMind's records, or of the flat ones of ip-location-db and IPinfo. The latter have names
// where MaxMind has maps: "country" is "Germany".
func (r *record) field(key []byte, at mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	switch string(key) {
	case "continent":
		return ifMap(at, r.continent)
	case "country":
		return ifMap(at, r.country)
	case "registered_country":
		return ifMap(at, r.registeredCountry)
	case "location":
		return ifMap(at, r.location)
	case "autonomous_system_number", "asn":
		return r.asn(at)
	case "continent_code":
		return readString(at, &r.place.Continent)
	case "country_code":
		return readString(at, &r.place.Country)
	case "latitude", "longitude":
		return r.location(key, at)
	}
	return at.Skip()
}

// asn reads the number of an autonomous system: 15169 or, as IPinfo writes it, "AS15169".
func (r *record) asn(at mmdbdata.Cursor) (next mmdbdata.Cursor, err error) {
	kind, err := at.Kind()
	if err != nil {
		return next, err
	}
	if kind != mmdbdata.KindString {
		n, next, err := at.ReadUint()
		r.place.ASN = uint32(n)
		return next, err
	}
	text, next, err := at.ReadString()
	if err != nil {
		return next, err
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(text, "AS"), 10, 32); err == nil {
		r.place.ASN = uint32(n)
	}
	return next, nil
}

// ifMap calls read for each entry of a map, and skips any other value.
func ifMap(at mmdbdata.Cursor, read func(key []byte, at mmdbdata.Cursor) (mmdbdata.Cursor, error)) (mmdbdata.Cursor, error) {
	if kind, err := at.Kind(); err == nil && kind != mmdbdata.KindMap {
		return at.Skip()
	}
	return eachEntry(at, read)
}

func (r *record) continent(key []byte, at mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	return readCode(key, "code", at, &r.place.Continent)
}

func (r *record) country(key []byte, at mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	return readCode(key, "iso_code", at, &r.place.Country)
}

func (r *record) registeredCountry(key []byte, at mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	return readCode(key, "iso_code", at, &r.registered)
}

func (r *record) location(key []byte, at mmdbdata.Cursor) (next mmdbdata.Cursor, err error) {
	switch string(key) {
	case "latitude":
		r.place.Latitude, next, err = at.ReadFloat()
		r.place.HasPosition = true // no database has one without the other
		return next, err
	case "longitude":
		r.place.Longitude, next, err = at.ReadFloat()
		return next, err
	case "accuracy_radius":
		n, next, err := at.ReadUint()
		r.place.Radius = uint16(min(n, 1<<16-1))
		return next, err
	}
	return at.Skip()
}

func readCode(key []byte, want string, at mmdbdata.Cursor, to *dnspool.Code) (mmdbdata.Cursor, error) {
	if string(key) != want {
		return at.Skip()
	}
	return readString(at, to)
}

func readString(at mmdbdata.Cursor, to *dnspool.Code) (mmdbdata.Cursor, error) {
	text, next, err := at.ReadString()
	*to = dnspool.ParseCode(text)
	return next, err
}

// eachEntry calls read for each entry of a map, to read its value.
func eachEntry(at mmdbdata.Cursor, read func(key []byte, at mmdbdata.Cursor) (mmdbdata.Cursor, error)) (mmdbdata.Cursor, error) {
	entries, err := at.Map()
	if err != nil {
		return mmdbdata.Cursor{}, err
	}
	if entries.Size() > maxEntries {
		return mmdbdata.Cursor{}, errTooLarge
	}
	var next mmdbdata.Cursor
	for {
		key, value, ok := entries.Next(next)
		if !ok {
			return entries.End()
		}
		if next, err = read(key, value); err != nil {
			return mmdbdata.Cursor{}, err
		}
	}
}
