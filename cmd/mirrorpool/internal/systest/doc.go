// Package systest holds tests of the built program, as its users meet it: with real mirrors, resolvers, secondaries,
// download clients, browsers and service managers. It has no code of its own.
//
// box_test.go makes hosts of network namespaces; the suites box_*, flood_*, soak and units take minutes, and are left
// out with -short. A suite that needs a program that is not installed is skipped, unless MIRRORPOOL_TEST_PEERS is
// "all".
package systest
