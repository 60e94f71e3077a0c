//go:build !unix

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// writable is left to the first write.
func writable(string) bool { return true }

func runAs(*cobra.Command, string) error {
	return &failure{exitUsage, errors.New("--as needs a Unix system")}
}
