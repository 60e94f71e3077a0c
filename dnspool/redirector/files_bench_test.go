package redirector

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"

	"mirrorpool/config"
	"mirrorpool/health/files"
)

// BenchmarkPlainFiles redirects to 2,000,000 files: without looking for carriers, for a file that many clients ask for,
// and for files that are asked for in no order.
func BenchmarkPlainFiles(b *testing.B) {
	origin := map[string]int64{}
	var cold []*plainRequest
	for i := range 2_000_000 {
		path := fmt.Sprintf("stable/tails-%d/image-%d.iso", i%97, i)
		origin[path] = int64(i)
		if i%20 == 0 {
			cold = append(cold, &plainRequest{path: []byte("/" + path)})
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(cold), func(i, j int) { cold[i], cold[j] = cold[j], cold[i] })
	origin["stable/tails-amd64-6.0/tails-amd64-6.0.img"] = 1 << 30
	w := newFileWorld(b, config.Files{Origin: "/o"}, listedMirrors, origin)
	catalog := w.handler.Catalog
	hot := []*plainRequest{{path: []byte("/stable/tails-amd64-6.0/tails-amd64-6.0.img")}}
	for _, bench := range []struct {
		name     string
		catalog  *files.Catalog
		requests []*plainRequest
	}{{"files=false", nil, hot}, {"files=true", catalog, hot}, {"files=false/cold", nil, cold}, {"files=true/cold", catalog, cold}} {
		b.Run(bench.name, func(b *testing.B) {
			w.handler.Catalog = bench.catalog
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if answered, err := w.handler.answerPlain(io.Discard, bench.requests[i%len(bench.requests)],
					client{addr: netip.AddrFrom4([4]byte{10, 0, 0, 1})}); !answered || err != nil {
					b.Fatal(answered, err)
				}
			}
		})
	}
}
