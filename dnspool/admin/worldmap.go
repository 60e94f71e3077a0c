package admin

import (
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

// coastlines are those of the continents and large islands, one outline on a line, as pairs of longitude and latitude in
// degrees. They were written down by hand for this program, cape by cape from an atlas's grid, as coarse as the eye can
// bear: a mirror has to be seen to be in Portugal rather than in Spain, and no more. As they are of our own making they
// are as free as the program.
const coastlines = `
-166 68 -156 71 -141 70 -128 70 -115 68 -108 68 -95 68 -94 72 -90 69 -85 69 -82 67 -86 66 -93 62 -94 59 -88 57 -82 55 -82 52 -79 52 -79 55 -77 57 -78 62 -72 61 -69 59 -65 60 -62 57 -56 53 -60 50 -66 50 -65 48 -61 46 -66 44 -70 43 -70 41 -74 40 -76 37 -76 35 -81 31 -80 26 -81 25 -83 29 -85 30 -90 29 -94 29 -97 27 -97 22 -95 18 -91 18 -90 21 -87 21 -88 16 -83 15 -83 10 -79 9 -77 8 -80 7 -83 8 -86 11 -92 14 -96 16 -105 20 -106 23 -109 26 -113 31 -115 31 -112 27 -110 23 -112 25 -115 29 -117 33 -121 35 -124 40 -124 47 -128 51 -133 56 -140 60 -147 61 -152 59 -158 56 -163 55 -157 59 -162 59 -165 61 -164 64 -161 66
-73 78 -60 82 -35 83 -18 80 -20 74 -24 70 -38 66 -43 60 -50 62 -54 68 -58 75 -68 76
-80 73 -72 71 -62 66 -66 62 -74 65 -73 68 -88 71
-90 77 -80 76 -65 82 -75 83 -92 81
-117 73 -105 73 -103 69 -115 69
-59 48 -56 51 -53 47
-85 22 -80 23 -74 20 -78 20
-74 20 -69 19 -69 18 -74 18
-77 8 -72 12 -62 10 -52 5 -50 0 -44 -3 -37 -5 -35 -8 -39 -14 -40 -21 -48 -26 -50 -30 -54 -34 -58 -35 -57 -38 -62 -39 -65 -43 -66 -47 -69 -51 -66 -55 -72 -53 -75 -48 -73 -40 -71 -30 -70 -18 -76 -14 -81 -5 -80 -2 -80 1 -77 4
-6 36 -9 32 -13 28 -17 21 -17 14 -13 8 -8 4 -2 5 4 6 6 4 9 4 9 0 12 -5 14 -11 12 -17 15 -25 18 -33 20 -35 26 -34 32 -29 35 -24 35 -20 40 -15 39 -6 44 1 51 11 44 11 43 12 39 16 37 21 33 28 32 30 29 31 20 31 19 30 15 32 10 34 10 37
44 -24 47 -25 50 -16 49 -12 44 -17
-9 37 -9 43 -2 43 -1 46 -5 48 2 51 7 53 8 57 11 56 10 54 14 54 20 54 21 57 24 59 30 60 25 60 22 61 22 63 25 65 22 66 17 62 18 60 16 56 13 55 11 59 8 58 5 60 5 62 12 66 20 70 26 71 33 69 41 67 35 66 37 64 44 66 44 68 54 68 60 69 67 69 69 73 73 72 80 73 87 75 104 77 113 74 127 73 140 72 160 70 170 70 180 69 180 65 177 62 170 60 163 58 162 55 157 51 156 57 163 62 155 59 142 59 135 55 141 53 140 48 132 43 128 40 129 36 126 34 126 38 122 40 118 39 122 37 119 35 122 30 119 25 114 22 108 21 106 19 109 13 105 9 100 13 100 8 104 1 101 3 98 8 98 16 94 16 91 22 87 21 80 15 80 12 77 8 73 17 72 21 67 25 57 25 56 27 50 30 48 30 51 25 56 26 59 22 55 17 44 13 43 16 39 21 35 28 34 31 36 36 31 36 27 37 27 40 29 41 36 41 41 41 37 45 39 47 34 46 31 46 28 43 28 41 24 41 23 37 20 40 19 42 13 45 13 43 18 40 16 38 12 42 9 44 3 43 0 40 -2 37
-180 69 -170 66 -173 64 -180 65
-5 50 1 51 1 53 -2 56 -3 58 -6 57 -3 54 -5 52
-10 52 -6 52 -6 55 -10 54
-24 65 -22 64 -18 63 -14 65 -16 66
12 79 20 80 25 79 17 77
52 71 57 71 68 77 60 76
130 31 132 34 136 34 140 35 142 39 141 41 139 38 136 36 131 34
140 42 145 43 142 45
142 46 144 49 143 54 142 50
120 22 121 25 122 25
120 16 122 18 124 13 120 14
122 7 126 9 126 6
95 5 98 4 106 -3 106 -6 101 -3
105 -6 114 -7 114 -9 106 -8
109 1 111 1 116 7 119 5 117 0 116 -4 110 -2
119 -5 120 1 125 1 121 0 123 -4 121 -3
131 -1 138 -2 147 -6 150 -10 143 -9 138 -8 133 -4
80 9 82 7 80 6
114 -22 122 -18 129 -15 132 -11 136 -12 136 -15 140 -17 142 -11 146 -19 153 -26 151 -33 150 -37 144 -38 138 -35 135 -34 131 -31 124 -33 118 -35 115 -34 114 -27
145 -41 148 -41 147 -43
173 -35 178 -38 175 -41 174 -39
173 -41 171 -44 168 -46 167 -45 171 -42
`

// coastPath is the path that draws the coastlines.
var coastPath = drawCoast(coastlines)

// drawCoast returns outlines as an SVG path, with steps from point to point, which are short to write.
func drawCoast(outlines string) string {
	var path strings.Builder
	for line := range strings.Lines(outlines) {
		fields := strings.Fields(line)
		x, y := 0, 0
		for i := 0; i+1 < len(fields); i += 2 {
			var longitude, latitude int
			fmt.Sscan(fields[i], &longitude) // a test reads what becomes of them
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
