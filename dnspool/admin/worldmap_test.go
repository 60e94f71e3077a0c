package admin

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mirrorpool/dnspool"
	"mirrorpool/health"
)

func TestWorldMap(t *testing.T) {
	t.Parallel()
	numbers := regexp.MustCompile(`-?\d+`)
	path := coastPath
	if len(path) > 4<<10 || strings.Count(path, "M") != strings.Count(coastlines, "\n") ||
		strings.Count(path, "z") != strings.Count(path, "M") {
		t.Errorf("%d bytes, %d outlines of %d", len(path), strings.Count(path, "M"), strings.Count(coastlines, "\n"))
	}
	// Every point is where the list says.
	steps := numbers.FindAllString(path, -1)
	for line := range strings.Lines(strings.TrimSpace(coastlines)) {
		x, y := 0, 0
		for i, field := range strings.Fields(line) {
			step, err := strconv.Atoi(steps[i])
			if err != nil {
				t.Fatal(err)
			}
			want, err := strconv.Atoi(field)
			if err != nil || i%2 == 1 && (want > mapNorth || want < mapSouth) || want < -180 || want > 180 {
				t.Fatalf("the coordinate %q: %v", field, err)
			}
			at := &x
			if i%2 == 1 {
				at, want = &y, mapNorth-want
			} else {
				want += mapWidth / 2
			}
			if i < 2 {
				*at = step
			} else {
				*at += step
			}
			if *at != want {
				t.Fatalf("point %d of %q is drawn at %d, want %d", i/2, line, *at, want)
			}
		}
		steps = steps[len(strings.Fields(line)):]
	}
}

// TestMarkers: no marker is drawn anywhere but at a mirror of its own, and each mirror is in one.
func TestMarkers(t *testing.T) {
	t.Parallel()
	var mirrors []MirrorStatus
	add := func(country string, latitude, longitude float64, state health.State) {
		mirrors = append(mirrors, MirrorStatus{
			URLPrefix: fmt.Sprintf("https://m%d.example.org/", len(mirrors)), Weight: 10, State: state, Works: WorksFully,
			Place: &PlaceStatus{Country: dnspool.ParseCode(country), Latitude: latitude, Longitude: longitude},
		})
	}
	for i := range 300 {
		add("DE", 52.5, 13.4, [...]health.State{health.Up, health.Up, health.Down}[i%3])
	}
	add("DE", 48.1, 11.6, health.Up)
	add("LU", 49.6, 6.1, health.Up)
	for _, corner := range [][2]float64{{90, -180}, {-90, 180}, {90, 180}, {-90, -180}} {
		add("", corner[0], corner[1], health.Stale)
	}
	mirrors = append(mirrors, MirrorStatus{URLPrefix: "https://nowhere.example.org/", Weight: 10})
	markers, unplaced := newMarkers(mirrors)
	if unplaced != 1 || len(markers) != 8 {
		t.Errorf("%d markers, %d mirrors without a place", len(markers), unplaced)
	}
	var got []string
	for _, m := range markers {
		if m.X < 0 || m.X > mapWidth || m.Y < 0 || m.Y > mapHeight || m.Scale > 2 {
			t.Errorf("%s is drawn at %v, %v, %v times as large", m.Title, m.X, m.Y, m.Scale)
		}
		number, _, _ := strings.Cut(m.Title, ":")
		got = append(got, fmt.Sprintf("%s at %v %v", number, m.X, m.Y))
	}
	for _, want := range []string{"200 up at 193.4 31.5", "100 down at 193.4 31.5", "1 up at 191.6 35.9", "1 up at 186.1 34.4"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if !strings.HasSuffix(got[len(got)-1], "down at 193.4 31.5") {
		t.Errorf("the last one, which is on top, is %q", got[len(got)-1])
	}
}
