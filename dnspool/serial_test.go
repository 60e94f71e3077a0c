package dnspool

import (
	"math"
	"testing"
	"time"
)

// TestSerialOfLongerAnswers has a DNS operator ask for more addresses in an answer: a zone made of it changes.
func TestSerialOfLongerAnswers(t *testing.T) {
	t.Parallel()
	in := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up").input(t)
	in.Previous, in.Now = Build(in), in.Now.Add(time.Minute)
	in.Policy.MaxAnswers = 1
	if got := Build(in).Serial; got != in.Previous.Serial+60 {
		t.Errorf("serial %d after %d, want a minute more", got, in.Previous.Serial)
	}
}

// TestSerialWithoutName has a mirror appear that is in no answer, and has no name for its own addresses: nothing
// changes.
func TestSerialWithoutName(t *testing.T) {
	t.Parallel()
	const base = "a 1 192.0.2.1=up/up\n"
	in := world(base + "b 0 192.0.2.2=up/up").input(t)
	in.Pool.Mirrors[1].Name = ""
	in.Previous, in.Now = Build(world(base).input(t)), in.Now.Add(time.Minute)
	if got := Build(in).Serial; got != in.Previous.Serial {
		t.Errorf("serial %d after %d, want the same", got, in.Previous.Serial)
	}
}

func TestSerial(t *testing.T) {
	t.Parallel()
	base := world("a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n")
	first := Build(base.input(t))
	if first.Serial != 1_800_000_000 {
		t.Errorf("first serial %d, want the time", first.Serial)
	}
	tests := map[string]struct {
		world
		at   int64
		want uint32
	}{
		"the zone changed":         {base, 1_800_000_100, 1_800_000_100},
		"nothing changed":          {base, 1_800_000_100, 1_800_000_000},
		"only HTTP changed":        {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/down\n", 1_800_000_100, 1_800_000_000},
		"a verdict changed":        {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/up\n", 1_800_000_100, 1_800_000_100},
		"twice in a second":        {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/up\n", 1_800_000_000, 1_800_000_001},
		"the clock was set back":   {"a 1 192.0.2.1=up/up\nb 1 192.0.2.2=down/up\n", 1_700_000_000, 1_800_000_001},
		"a weight changed":         {"a 2 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n", 1_800_000_100, 1_800_000_100},
		"a named address appeared": {base + "c 0 192.0.2.3=up/up", 1_800_000_100, 1_800_000_100},
		// Neither is in the pool's answers, but the one has an address at its name.
		"a mirror was disabled": {base + "c 0 192.0.2.3=up/up", 1_800_000_100, 1_800_000_100},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := test.input(t)
			in.Previous, in.Now = first, time.Unix(test.at, 0)
			in.ZoneChanged = name == "the zone changed"
			if name == "a mirror was disabled" {
				enabled := (base + "c 1 dns=off 192.0.2.3=up/up").input(t)
				in.Previous = Build(enabled)
			}
			if got := Build(in).Serial; got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// TestSerialAfterRestart begins where the serial had come to before.
func TestSerialAfterRestart(t *testing.T) {
	t.Parallel()
	const now = 1_800_000_000
	for _, test := range []struct{ last, now, want uint32 }{
		{0, now, now},
		{now - 5, now, now},
		{now, now, now + 1},
		{now + 77, now, now + 78}, // the clock was set back
		{math.MaxUint32, 5, 5},    // RFC 1982
		{5, math.MaxUint32, 6},
		{math.MaxUint32, math.MaxUint32, 1}, // 0 means that it is not known
	} {
		in := world("a 1 192.0.2.1=up/up").input(t)
		in.Last.Serial, in.Now = test.last, time.Unix(int64(test.now), 0)
		if got := Build(in).Serial; got != test.want {
			t.Errorf("after %d, at %d: got %d, want %d", test.last, test.now, got, test.want)
		}
	}
}

// TestSerialOfTheSameContent: in a group, the content that the zone had before a start keeps its serial, and so do the
// other servers theirs.
func TestSerialOfTheSameContent(t *testing.T) {
	t.Parallel()
	const base, now = "a 1 192.0.2.1=up/up\nb 1 192.0.2.2=up/up\n", 1_800_000_000
	start := func(w world, last ZoneVersion, versions map[string]ZoneVersion) *Snapshot {
		in := w.input(t)
		in.Last, in.Now, in.Agree = last, time.Unix(now, 0), &Agreement{Name: "fra", Versions: versions}
		return Build(in)
	}
	content := start(base, ZoneVersion{}, nil).Content
	before := ZoneVersion{now - 70, content}
	for name, test := range map[string]struct {
		world
		last     ZoneVersion
		versions map[string]ZoneVersion
		want     uint32
	}{
		"the same":                            {base, before, nil, now - 70},
		"another":                             {base + "c 1 192.0.2.3=up/up\n", before, nil, now},
		"not known":                           {base, ZoneVersion{Serial: now - 70}, nil, now},
		"another server has it, too":          {base, before, map[string]ZoneVersion{"ams": before}, now - 70},
		"another server has it, with a later": {base, before, map[string]ZoneVersion{"ams": {now - 9, content}}, now - 9},
		"another server has a later one":      {base, before, map[string]ZoneVersion{"ams": {now - 9, content + 1}}, now - 70},
	} {
		if got := start(test.world, test.last, test.versions).Serial; got != test.want {
			t.Errorf("%s: serial %d, want %d", name, got, test.want)
		}
	}
}
