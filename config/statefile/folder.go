package statefile

import (
	"errors"
	"fmt"
	"io/fs"

	"mirrorpool/config/safefile"
)

// CheckFolder returns an error if dir cannot be used as state_dir: other users could change what is kept there, or
// this user cannot write to it. A folder that does not exist is created later; "" is none.
func CheckFolder(dir string) error {
	if dir == "" {
		return nil
	}
	err := safefile.CheckFolder(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && !writable(dir):
		err = fmt.Errorf("%s: this user cannot write to it", dir)
	}
	if err != nil {
		return fmt.Errorf("cannot use state_dir: %w", err)
	}
	return nil
}
