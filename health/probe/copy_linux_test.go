package probe

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"

	"mirrorpool/health/files"
	"mirrorpool/health/files/checksums"
	"mirrorpool/health/files/verify"
	"mirrorpool/testdata/testbed"
)

const (
	benchMirrors = 10
	benchSize    = 1 << 30
	benchRate    = 10e6
)

// BenchmarkVerify reads a file of 1 GiB from ten mirrors at 100 MB a second in all, one of which has a wrong bit. It
// gives the CPU time of this process in percent of one CPU, and the memory that it holds more.
func BenchmarkVerify(b *testing.B) {
	testbed.Need(b, "nginx", "nginx")
	for b.Loop() {
		benchVerify(b)
	}
}

func benchVerify(b *testing.B) {
	origin, bad := b.TempDir(), b.TempDir()
	sum := writeRandom(b, filepath.Join(origin, "x.img"), -1)
	writeRandom(b, filepath.Join(bad, "x.img"), 987_654_321)
	port := testbed.FreePort(b, "127.0.0.1")
	served := ""
	var mirrors []verify.Mirror
	for i := range benchMirrors {
		root := origin
		if i == 3 {
			root = bad
		}
		served += fmt.Sprintf("location /%d/ { alias %s/; }\n", i, root)
		mirrors = append(mirrors, verify.Mirror{URLPrefix: fmt.Sprintf("http://127.0.0.1:%s/%d/", port, i), Number: i,
			Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	}
	b.Cleanup(testbed.Nginx(b, fmt.Sprintf("server { listen 127.0.0.1:%s; %s }\n", port, served)))

	// Ten files of the same bytes, so that all mirrors are read at the same time.
	sums := checksums.NewStore(checksums.Options{Settings: checksums.Settings{Wanted: func(string, int64) bool { return true }},
		Log: zap.NewNop(), Now: time.Now})
	listing := sums.NewListing()
	for i := range benchMirrors {
		name := fmt.Sprintf("%d.img", i)
		for _, root := range []string{origin, bad} {
			if err := os.Link(filepath.Join(root, "x.img"), filepath.Join(root, name)); err != nil {
				b.Fatal(err)
			}
		}
		listing.Add(name, benchSize, 1, &sum)
	}
	sums.Take(listing)
	copies := NewCopies(nil, func() string { return "Wget/1.21.3" })
	v := verify.New(verify.Options{
		Settings: verify.Settings{Rate: benchRate}, Files: sums.Files, IsNewest: func(string) bool { return false },
		Has: func(int, string) bool { return true },
		Fetch: func(ctx context.Context, m *verify.Mirror, addr netip.Addr, path string, offset, length int64) (*verify.Copy, error) {
			u, err := url.Parse(m.URLPrefix + path)
			if err != nil {
				return nil, err
			}
			return copies.Fetch(ctx, u, addr, offset, length)
		},
		Origin: func(_ context.Context, path string, offset, length int64) ([]byte, error) {
			f, err := files.OpenInFolder(origin, path)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			part := make([]byte, length)
			_, err = f.ReadAt(part, offset)
			return part, err
		},
		OriginIsNear: func() bool { return true }, Changed: func() {}, Random: rand.New(rand.NewPCG(1, 2)), Log: zap.NewNop(), Now: time.Now,
	})
	runtime.GC()
	var before, during runtime.MemStats
	runtime.ReadMemStats(&before)
	v.Observe(mirrors)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	began, used := time.Now(), cpuTime(b)
	go func() { done <- v.Run(ctx) }()
	peak := uint64(0)
	for len(v.Report()[mirrors[3].URLPrefix].Corrupt) == 0 && time.Since(began) < 5*time.Minute {
		time.Sleep(100 * time.Millisecond) // paces the look at the memory
		runtime.ReadMemStats(&during)
		peak = max(peak, during.HeapInuse+during.StackInuse-before.HeapInuse-before.StackInuse)
	}
	took, cpu := time.Since(began), cpuTime(b)-used
	read := v.Counts().Bytes
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	for i := range mirrors {
		if corrupt := v.Report()[mirrors[i].URLPrefix].Corrupt; (len(corrupt) > 0) != (i == 3) {
			b.Errorf("mirror %d: %d corrupt files", i, len(corrupt))
		} else if i == 3 && corrupt[0].Offset != 987_654_321 {
			b.Errorf("the wrong byte is at %d", corrupt[0].Offset)
		}
	}
	rate := float64(read) / took.Seconds()
	b.ReportMetric(rate/1e6, "MB/s")
	b.ReportMetric(100*cpu.Seconds()/took.Seconds()*100e6/rate, "%CPU@100MB/s")
	b.ReportMetric(float64(peak)/(1<<20), "MiB")
}

// writeRandom writes a file of benchSize bytes, with a bit at an offset changed, or none if that is negative.
func writeRandom(b *testing.B, path string, flipped int64) checksums.Sum {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	digest := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, digest), rand.NewChaCha8([32]byte{1}), benchSize); err != nil {
		b.Fatal(err)
	}
	if flipped >= 0 {
		one := make([]byte, 1)
		if _, err := f.ReadAt(one, flipped); err != nil {
			b.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{one[0] ^ 1}, flipped); err != nil {
			b.Fatal(err)
		}
	}
	sum, _ := checksums.NewSum(digest.Sum(nil))
	return sum
}
