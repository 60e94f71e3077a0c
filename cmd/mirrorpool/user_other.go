//go:build !unix

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func runAs(*cobra.Command, string) error {
	return &failure{exitUsage, errors.New("--as needs a Unix system")}
}
