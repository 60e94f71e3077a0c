package redirector

import (
	"fmt"
	"io"
	"net/netip"
	"testing"

	"mirrorpool/config"
)

func BenchmarkPlainFiles(b *testing.B) {
	origin := map[string]int64{}
	for i := range 2_000_000 {
		origin[fmt.Sprintf("stable/tails-%d/image-%d.iso", i%97, i)] = int64(i)
	}
	origin["stable/tails-amd64-6.0/tails-amd64-6.0.img"] = 1 << 30
	w := newFileWorld(b, config.Files{Origin: "/o"}, listedMirrors, origin)
	catalog := w.handler.Catalog
	r := &plainRequest{path: []byte("/stable/tails-amd64-6.0/tails-amd64-6.0.img")}
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("files=%v", with), func(b *testing.B) {
			if w.handler.Catalog = nil; with {
				w.handler.Catalog = catalog
			}
			b.ReportAllocs()
			for b.Loop() {
				if answered, err := w.handler.answerPlain(io.Discard, r,
					client{addr: netip.AddrFrom4([4]byte{10, 0, 0, 1})}); !answered || err != nil {
					b.Fatal(answered, err)
				}
			}
		})
	}
}
