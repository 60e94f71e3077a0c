package admin

import (
	_ "embed"
	"fmt"
	"strings"
)

// The map is a plate carrée: one unit is a degree, both ways, with the origin at 180 degrees west and mapNorth.
const (
	mapNorth  = 84 // degrees, the upper edge
	mapSouth  = -57
	mapWidth  = 360
	mapHeight = mapNorth - mapSouth
)

// coastlines holds the outlines of the continents and large islands: one on a line, as pairs of longitude and latitude
// in degrees. They were drawn by hand for this program, just fine enough to tell a mirror in Portugal from one in
// Spain, and have the program's licence.
//
//go:embed coastlines.txt
var coastlines string

// coastPath is the SVG path of the coastlines.
var coastPath = drawCoast(coastlines)

// drawCoast returns outlines as an SVG path of relative steps, which take fewer bytes than coordinates.
func drawCoast(outlines string) string {
	var path strings.Builder
	for line := range strings.Lines(outlines) {
		fields := strings.Fields(line)
		x, y := 0, 0
		for i := 0; i+1 < len(fields); i += 2 {
			var longitude, latitude int
			fmt.Sscan(fields[i], &longitude) // a test checks each point
			fmt.Sscan(fields[i+1], &latitude)
			nextX, nextY := longitude+mapWidth/2, mapNorth-latitude
			if i == 0 {
				fmt.Fprintf(&path, "M%d %d", nextX, nextY)
			} else {
				separator := " "
				if nextY < y { // the sign separates
					separator = ""
				}
				fmt.Fprintf(&path, "l%d%s%d", nextX-x, separator, nextY-y)
			}
			x, y = nextX, nextY
		}
		if len(fields) > 0 {
			path.WriteByte('z')
		}
	}
	return path.String()
}
