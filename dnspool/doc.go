// Package dnspool is the pool: it joins the mirrors, the verdicts on them and their weights into a
// [Snapshot], which says who is eligible and picks from them. Both faces, DNS and HTTP, read the same one.
//
// The package is pure: no sockets, and no clock or randomness of its own. It knows neither DNS messages
// nor HTTP requests.
//
// # Who is eligible
//
// Candidates are judged in groups: one for each role and address family, and for redirects one more of
// the mirrors that speak https. A group holds the enabled mirrors with an address of its family. In role
// DNS a mirror stands as its best address does, and only such addresses are listed; in role HTTP it stands
// as its worst one does, because the client chooses which of them it connects to; and no better than its rsync
// daemon, if it has one.
//
// Those that are up are eligible. If they have less than the panic threshold of the group's weight, or
// none is up, the group is in panic: it no longer trusts its checks, and the best of the others join,
// first all that are unknown, then stale, then down, until the eligible weight reaches the threshold. So
// a group with any enabled mirror has an eligible one, and a disabled mirror is in none. A large group leaves
// panic a little above the threshold, so as not to come back at once.
//
// # Weights
//
// A weight is a chance of being picked. A redirect goes to a mirror with the chance weight/total. A DNS
// answer lists up to max_answers addresses, and a client may use any of them, so two shares are kept in
// proportion to weight at once: that of the first place, and that of all places. See [Deck]. The second
// has a limit: no mirror can be in an answer more than once. Where max_answers*weight/total exceeds 1,
// the mirror is in every answer, and the others share the places that remain by their weights.
package dnspool
