package listen

import (
	"errors"
	"net"
)

// HideAddresses returns the cause of a network error without the client's address.
func HideAddresses(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
