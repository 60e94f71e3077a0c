//go:build race

package health

// raceDetector reports whether this binary watches for races, which costs what a load run measures.
const raceDetector = true
