package rsync

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkList takes apart a listing of 200,000 files: what this side of the conversation costs.
func BenchmarkList(b *testing.B) {
	const files = 200_000
	var said strings.Builder
	said.WriteString(okay + seed)
	for i := range files {
		name := fmt.Sprintf("pool/main/a/package-%d/package_1.%d-1_amd64.deb", i%500, i)
		said.WriteString(frame(codeData, "\x18"+string(rune(len(name)))+name+le(11)+le(1772368497)+le(modeRegular|0o644)))
	}
	said.WriteString(frame(codeData, endOfList))
	text := []byte(said.String())
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		tree := Tree{Module: "tails", MaxEntries: files + 1, MaxBytes: len(text) + 1}
		if err := List(b.Context(), newScript(text, 0), tree, func(Entry) error { n++; return nil }); err != nil || n != files {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(files)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// FuzzList plays a hostile daemon that lists a tree: List ends, within its bounds, with entries that could be or a
// printable error.
func FuzzList(f *testing.F) {
	f.Add([]byte(okay + seed + frame(codeData, trace+endOfList)))
	f.Add([]byte(okay + seed + frame(codeData, strings.Repeat(trace, 20)+endOfList)))
	f.Add([]byte(okay + seed + frame(codeFirstText, "refused") + frame(codeData, endOfList)))
	f.Fuzz(func(t *testing.T, said []byte) {
		const most = 10
		n := 0
		err := List(t.Context(), newScript(said, 0), Tree{Module: "tails", MaxEntries: most, MaxBytes: 1 << 16}, func(e Entry) error {
			if n++; e.Size < 0 || len(e.Path) > maxName {
				t.Errorf("%d bytes at %q", e.Size, e.Path)
			}
			return nil
		})
		if n > most {
			t.Errorf("%d entries", n)
		}
		if err != nil {
			checkText(t, err)
		}
	})
}
