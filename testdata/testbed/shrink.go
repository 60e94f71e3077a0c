package testbed

import "slices"

// Shrink leaves out of a sequence of events what it can while run still returns an error, and returns the rest with the
// last one. err is that of the whole sequence.
func Shrink[T any](ops []T, err error, run func([]T) error) ([]T, error) {
	for size := len(ops) / 2; size > 0; {
		shorter := false
		for at := 0; at+size <= len(ops); {
			fewer := slices.Concat(ops[:at], ops[at+size:])
			if len(fewer) == 0 {
				break
			}
			if e := run(fewer); e != nil {
				ops, err, shorter = fewer, e, true
			} else {
				at += size
			}
		}
		if !shorter || size > len(ops) {
			size /= 2
		}
	}
	return ops, err
}
