// Package geo finds out where addresses are, in MaxMind DB files: GeoLite2 and GeoIP2 City or Country, and ASN; others
// with the same fields, such as those of DB-IP; and flat ones, as ip-location-db and IPinfo Lite have them.
//
// It reads what the pool needs and nothing else: no names, no cities. It makes no requests, and what it is asked for
// is neither stored nor logged.
package geo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"
	"go.uber.org/zap"

	"mirrorpool/config"
	"mirrorpool/config/failure"
	"mirrorpool/config/safefile"
	"mirrorpool/dnspool"
)

//go:generate go test -run ^TestDatabases$ -update .

const (
	lookInterval = 10 * time.Second // between looks at the files: they change once a week or so
	maxFileSize  = 2 << 30          // bytes
	maxChecked   = 10_000           // networks whose records are decoded before a file is trusted
)

// A Reader answers from databases in files, and takes new ones as they come. It is safe for concurrent use.
type Reader struct {
	log     *zap.Logger
	mu      sync.Mutex // guards files
	files   [2]*file
	current atomic.Pointer[databases]
	records sync.Pool // of *record
}

// Databases are those in force. One that is missing is nil.
type databases struct{ places, networks *maxminddb.Reader }

// A file is where a database comes from.
type file struct {
	key, path string
	seen      os.FileInfo // when it was read last, whatever came of it; nil if it was not there
	failure   failure.Last
	db        *maxminddb.Reader
}

// Open reads the files that c names. What cannot be read is logged, and looked at again by Run: without a database the
// program serves nevertheless.
func Open(c config.GeoIP, log *zap.Logger) *Reader {
	r := &Reader{log: log, files: [2]*file{{key: "geoip.city", path: c.City}, {key: "geoip.asn", path: c.ASN}}}
	r.records.New = func() any { return new(record) }
	r.current.Store(&databases{})
	r.look()
	return r
}

// SetFiles takes the databases from other files from now on, and reports whether others are in force. A database stays
// until the file that takes its place can be read.
func (r *Reader) SetFiles(c config.GeoIP) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, path := range [...]string{c.City, c.ASN} {
		before := r.files[i]
		switch {
		case path == before.path:
		case path == "":
			changed = changed || before.db != nil
			r.files[i] = &file{key: before.key}
		default:
			r.files[i] = &file{key: before.key, path: path, db: before.db}
		}
	}
	if changed {
		r.publish()
	}
	return r.readFiles() || changed
}

// Check returns an error if there is no usable database at path. An empty path means none, which is no error.
func Check(path string) error {
	if path == "" {
		return nil
	}
	_, err := (&file{path: path}).read()
	return err
}

// Run looks for new files until ctx ends, and calls changed when there is another database in force.
func (r *Reader) Run(ctx context.Context, changed func()) error {
	return r.run(ctx, lookInterval, changed)
}

func (r *Reader) run(ctx context.Context, interval time.Duration, changed func()) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if r.look() {
				changed()
			}
		}
	}
}

// look reads the files that have changed, and reports whether there is another database in force. Requests go on
// with the one before until the new one is complete.
func (r *Reader) look() (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.readFiles()
}

// readFiles is look with r.mu held.
func (r *Reader) readFiles() (changed bool) {
	for _, f := range r.files {
		if f.path == "" {
			continue
		}
		fresh, err := f.read()
		if f.failure.IsNew(err) {
			r.log.Error("cannot use a geographical database; what was in force stays",
				zap.String("key", f.key), zap.Error(err), zap.Bool("in_force", f.db != nil))
		}
		if fresh {
			changed = true
			r.log.Info("geographical database in force", zap.String("key", f.key), zap.String("file", f.path),
				zap.String("type", f.db.Metadata.DatabaseType), zap.Time("built", f.db.Metadata.BuildTime()))
		}
	}
	if changed {
		r.publish()
	}
	return changed
}

func (r *Reader) publish() {
	r.current.Store(&databases{places: r.files[0].db, networks: r.files[1].db})
}

// read reads the file if it has changed. fresh says that there is another database.
//
// It is read into memory, not mapped: touching a page of a mapped file that has been cut short would end the
// program.
func (f *file) read() (fresh bool, err error) {
	from, err := safefile.Open(f.path)
	if err != nil {
		f.seen = nil
		return false, fmt.Errorf("%v; want a MaxMind DB file", err)
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return false, err
	}
	if safefile.Same(f.seen, info) {
		return false, nil
	}
	f.seen = info
	if info.Size() > maxFileSize {
		return false, fmt.Errorf("%s: want a file of at most %d bytes", f.path, maxFileSize)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(from, data); err != nil {
		f.seen = nil // it is being written
		return false, fmt.Errorf("%s: cannot read it: %v", f.path, err)
	}
	db, err := maxminddb.OpenBytes(data)
	if err == nil {
		err = check(db)
	}
	if err != nil {
		return false, fmt.Errorf("%s: want a MaxMind DB file, whole and with countries or networks: %v", f.path, err)
	}
	f.db = db
	return true, nil
}

// check looks at a database here and there: at the first networks one by one, and at addresses all over.
func check(db *maxminddb.Reader) error {
	known, checked := 0, 0
	var r record
	decode := func(result maxminddb.Result) error {
		r = record{}
		if err := result.Decode(&r); err != nil {
			return err
		}
		if r.place.Known() || r.place.ASN != 0 {
			known++
		}
		return nil
	}
	// In a broken tree there may be no end of networks without data: they count too.
	for result := range db.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if err := decode(result); err != nil {
			return err
		}
		if checked++; checked == maxChecked {
			break
		}
	}
	for i := range 1 << 12 {
		addr := netip.AddrFrom4([4]byte{byte(i >> 4), byte(i << 4), 1, 1})
		if err := decode(db.Lookup(addr)); err != nil {
			return err
		}
		if db.Metadata.IPVersion == 4 {
			continue
		}
		addr = netip.AddrFrom16([16]byte{0x20 | byte(i>>8)&0x1f, byte(i), byte(i >> 4), 1})
		if err := decode(db.Lookup(addr)); err != nil {
			return err
		}
	}
	if known == 0 {
		return errors.New("no country, position or network number found")
	}
	return nil
}

// Place returns where an address is, as far as the databases know. It allocates nothing.
func (r *Reader) Place(addr netip.Addr) dnspool.Place {
	d := r.current.Load()
	if d.places == nil && d.networks == nil {
		return dnspool.Place{}
	}
	rec := r.records.Get().(*record)
	defer r.records.Put(rec)
	*rec = record{}
	network := rec.read(d.places, addr)
	if n := rec.read(d.networks, addr); n.IsValid() && (!network.IsValid() || n.Bits() > network.Bits()) {
		network = n
	}
	rec.place.Settle()
	rec.place.Network = network
	return rec.place
}
