//go:build race

package main

// raceDetector says that memory is not what it is without.
const raceDetector = true
