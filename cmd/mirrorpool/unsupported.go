package main

import (
	"fmt"
	"slices"
	"strings"

	"mirrorpool/config"
)

// checkSupport refuses a configuration that asks for what this version does not do: whoever relies on it would
// be let down in silence. It goes as the capabilities come.
func checkSupport(file string, c *config.Server) error {
	var keys []string
	for key, given := range map[string]bool{
		"dns.geo": c.DNS.Geo,
	} {
		if given {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	return &config.Error{File: file, Err: fmt.Errorf("this version does not support %s yet: take it out of the configuration", strings.Join(keys, ", "))}
}
