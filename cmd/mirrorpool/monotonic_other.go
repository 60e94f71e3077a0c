//go:build !linux

package main

// monotonic is for service managers that are not elsewhere.
func monotonic() string { return "0" }
