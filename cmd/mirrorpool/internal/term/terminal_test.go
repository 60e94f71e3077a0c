package term

import (
	"bytes"
	"testing"
)

func TestProgress(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	p := &Progress{w: &text, on: true}
	p.Show(7, 11)
	p.Show(8, 11)
	p.Clear()
	if want := "\r7 of 11 checked\x1b[K\r8 of 11 checked\x1b[K\r\x1b[K"; text.String() != want {
		t.Errorf("%q, want %q", text.String(), want)
	}
	text.Reset()
	p = NewProgress(&text)
	p.Show(8, 11)
	p.Clear()
	if text.Len() != 0 {
		t.Errorf("%q where there is no terminal", text.String())
	}
}

func TestMilliseconds(t *testing.T) {
	t.Parallel()
	for ms, want := range map[float64]string{0: "-", 0.04: "0.0", 0.35: "0.3", 9.96: "10.0", 99.94: "99.9", 99.96: "100",
		1234.5: "1235"} {
		if got := Milliseconds(ms); got != want {
			t.Errorf("%v ms: %q, want %q", ms, got, want)
		}
	}
}
