package admin

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A pageMarker stands on the map for the mirrors of one condition around one position.
type pageMarker struct {
	Class, Title string
	X, Y, Scale  float64
}

// A mapCluster is mirrors of one country near one another. It is drawn where its first mirror is, so that no marker
// leaves the country, however many mirrors a town has.
type mapCluster struct {
	country             string
	latitude, longitude float64
	mirrors             map[condition][]string // their url_prefixes
}

// clusterReach is how many degrees from the first mirror of a cluster its others are at most: less than a marker is
// wide.
const clusterReach = 2

func (c *mapCluster) has(p *PlaceStatus) bool {
	return c.country == p.Country.String() &&
		math.Abs(c.latitude-p.Latitude) <= clusterReach && math.Abs(c.longitude-p.Longitude) <= clusterReach
}

// newMarkers returns the markers of all mirrors whose place is known, and how many have none. Markers of trouble come
// last, which draws them above the others.
func newMarkers(mirrors []MirrorStatus) (markers []pageMarker, unplaced int) {
	var clusters []*mapCluster
	for i := range mirrors {
		m := &mirrors[i]
		if m.Place == nil {
			unplaced++
			continue
		}
		k := slices.IndexFunc(clusters, func(c *mapCluster) bool { return c.has(m.Place) })
		if k < 0 {
			k = len(clusters)
			clusters = append(clusters, &mapCluster{
				country: m.Place.Country.String(), latitude: m.Place.Latitude, longitude: m.Place.Longitude,
				mirrors: map[condition][]string{},
			})
		}
		c := conditionOf(m)
		clusters[k].mirrors[c] = append(clusters[k].mirrors[c], m.URLPrefix)
	}
	for _, c := range slices.Backward(conditions[:]) {
		for _, cluster := range clusters {
			if len(cluster.mirrors[c]) > 0 {
				markers = append(markers, cluster.marker(c))
			}
		}
	}
	return markers, unplaced
}

func (c *mapCluster) marker(of condition) pageMarker {
	const maxNamed = 10
	mirrors := c.mirrors[of]
	title := fmt.Sprintf("%d %s: ", len(mirrors), of.name())
	title += strings.Join(mirrors[:min(len(mirrors), maxNamed)], ", ")
	if more := len(mirrors) - maxNamed; more > 0 {
		title += fmt.Sprintf(" and %d more", more)
	}
	const maxScale = 1.7
	return pageMarker{
		Class: of.class(), Title: title, X: mapX(c.longitude), Y: mapY(c.latitude),
		Scale: math.Round(100*min(maxScale, 0.8+0.2*math.Sqrt(float64(len(mirrors))))) / 100,
	}
}

// margin is how far the middle of a marker stays away from the edges of the map.
const margin = 3

func mapX(longitude float64) float64 {
	return min(max(tenths(longitude)+mapWidth/2, margin), mapWidth-margin)
}

func mapY(latitude float64) float64 {
	return min(max(mapNorth-tenths(latitude), margin), mapHeight-margin)
}

func tenths(x float64) float64 { return math.Round(10*x) / 10 }
