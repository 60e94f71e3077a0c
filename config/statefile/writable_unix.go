//go:build unix

package statefile

import "golang.org/x/sys/unix"

// writable reports whether the process may create files in a folder.
func writable(folder string) bool { return unix.Access(folder, unix.W_OK|unix.X_OK) == nil }
