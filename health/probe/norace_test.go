//go:build !race

package probe

// raceDetector reports whether this binary watches for races, which costs what a load run measures.
const raceDetector = false
