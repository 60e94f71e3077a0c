//go:build !linux

package listen

// LockReaderThread does nothing on this system.
func LockReaderThread() error { return nil }
