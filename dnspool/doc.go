// Package dnspool is the pool: it joins the mirrors, the verdicts on them and their weights into a
// [Snapshot], which says which are eligible, and picks from them. Both faces, the DNS server and the HTTP redirector,
// answer from the same one.
//
// The package is pure: no sockets, and no clock or randomness of its own. It knows neither DNS messages
// nor HTTP requests.
//
// # Which mirrors are eligible
//
// Candidates are judged in groups: one for each role and address family, and for redirects one more of
// the mirrors that speak https. A group holds the enabled mirrors with an address of its family. In role
// DNS a mirror stands as its best address does, and only such addresses are listed; in role HTTP it stands
// as its worst one does, because the client chooses which of them it connects to; and no better than its rsync
// daemon, if it has one.
//
// Those that are up are eligible. As long as one is, this host's network works, and a mirror that fails in a way of its
// own (it refuses, hangs, answers wrongly) is not: the others share the load. Only where they have less than the panic
// threshold of the group's weight do others join whose failure says nothing of them: first those that could not be
// judged, then those whose failure a fault of this host explains (see [health.Suspect]), until the eligible weight
// reaches the threshold. A mirror that has not been up since it was added does not count in that weight.
//
// If none is up, the stale ones join next. If there is none of these either, the group is down as a whole: those that
// passed last join, until they have the threshold's weight; all that failed within two intervals of each other count as
// one.
//
// A group in which others have joined is in panic. So a group with any enabled mirror has an eligible one, and a
// disabled mirror is in none. A large group leaves panic a little above the threshold, so as not to come back at once.
// Servers with an [Agreement] do without that, and go by what all watchers say of when a mirror passed last, as all of
// them are to serve the same.
//
// Of the mirrors that are up, those that carry the reference are enough once there are as many as should compete
// (selection.min_candidates), and none has more than selection.max_share of their weight. Then those that are behind
// it, if only within max_lag, are left out.
//
// A person may override the checks for a while: see [Override]. A mirror that is drained in a role is in none of its
// groups, and its weight is missed in none, unless no other mirror of the group has an address and the person did not
// insist. One that is forced up stands as if all its addresses were up.
//
// # Weights
//
// A weight is a chance of being picked. Where the checks of a mirror fail or hesitate now and then, a part of its
// weight counts (see [health.Rate]). A redirect goes to a mirror with the chance weight/total, among those that
// compete: see below. A DNS answer lists up to max_answers addresses, and a client may use any of them, so two shares
// are kept in proportion to weight at once: that of the first place, and that of all places. See [Deck]. The second has
// a limit: no mirror can be in an answer more than once. Where max_answers*weight/total exceeds 1, the mirror is in
// every answer, and the others share the places that remain by their weights.
//
// # Nearness
//
// Redirects go to a mirror near the client, but not too near. The distance of a mirror from a client is in km:
//
//	far = 100 + distance + border
//
// distance is the one between the two positions along the Earth's surface. Where of one only the country is known, or
// its accuracy radius is over 500 km, the country's middle stands for it; where not even that, 3,000 km stand for the
// distance on the same continent and 12,000 km for any other. border is what lies between the two networks:
//
//	    0  the same autonomous system: it carries its own traffic
//	  300  the same country: networks of a country meet in it
//	  600  the same continent
//	3,000  otherwise: seas are crossed at few places, and by detours
//
// The 100 km are there because databases are no more exact than that: a mirror 5 km away is not nearer than one 20 km
// away, and all mirrors of a town have to be alike.
//
// A mirror is near if it is at most 1.5 (selection.near) times as far as the nearest, or in the client's country. The
// near ones compete by weight alone. Should they be fewer than selection.min_candidates, or than 1/max_share, so that
// none can keep within its limit, the next nearest join, with their weight reduced by how much farther they are:
//
//	nearness = 1 if near, else far of the nearest / far; 0 if it does not compete
//	points   = weight * nearness
//	share    = points / sum of all points, but at most selection.max_share
//
// What the limit cuts off goes to the others by their points: a single mirror on a continent must not
// get all of its clients. Where so
// few are eligible that each has to take max_share or more, all take the same.
//
// An example: for a client in Berlin, in a network of Deutsche Telekom,
//
//	mirror          weight  far = 100 + distance + border    nearness          points  share
//	Berlin, DFN         10  100 +      0 +   300 =    400    1                 10.00   50.0 % (54.5 % without the limit)
//	Vienna              10  100 +    523 +   600 =  1,223    400/1,223 = 0.33   3.27   19.6 %
//	Paris               20  100 +    877 +   600 =  1,577    400/1,577 = 0.25   5.07   30.4 %
//	Sydney              90  100 + 16,095 + 3,000 = 19,195    0                  0       0
//
// Where places are off (selection.geo), or the client's is not known, not even its continent, all that are eligible
// compete by weight, without a limit. A mirror's serve_only and exclude hold always; a client who is not known to be in
// one of the places is not in it. If all that are eligible serve others only, the most trusted of the other enabled
// mirrors that serve the client do.
//
// DNS answers by place too if the operator wants it (dns.geo): the same mirrors compete, of those that are eligible for
// DNS, with the same shares, but for the nearness, which is rounded down to a power of two so that clients of many
// places share a deck. See [Snapshot.Near].
//
// # The same mirror for a while
//
// Which of the competing mirrors serves a client network (/24, /48) is drawn by weighted rendezvous hashing: a hash of
// the network, of the window of time and of a secret is the seed of the draw; with the mirror's url_prefix it makes a
// number u between 0 and 1, and the mirror with the least -ln(u)/points serves. See [Sticky]. So the same network meets
// the same mirror within a window without anything being stored, on all servers that know the secret; over many
// networks the shares are those above; and as each mirror's number depends on no other mirror, a mirror that leaves
// moves its own clients and no others, and one that joins moves only the clients it serves from then on. A mirror whose
// share is limited to s serves if its u is above 1-s, whichever others compete (the next limited one out of those that
// are left, and so on, in the order of the mirrors' hashes); only when a limit begins or ends to be reached, others
// move too.
//
// The runners-up are those that compete, in the order of -ln(u)/points, and then the rest by how far they are.
//
// # Parts
//
//	snapshot.go   what both faces answer from
//	build.go      how it is made of mirrors and verdicts
//	agree.go      how several servers tell the same under one serial
//	policy.go     the settings that matter for it
//	eligible.go   which mirrors are eligible, and panic
//	elsewhere.go  drains that were set at other servers
//	override.go   drains, and mirrors that a person has forced up
//	deck.go       DNS answers: the order in which addresses are dealt
//	deck_*.go     a deck after a change, with most of the cards of the one before; who leads them
//	near_dns.go   DNS answers by place
//	choose.go     redirects: which mirror is picked
//	near.go       nearness: distances, which mirrors compete, max_share
//	prefer.go     the clients of mirrors without a verified copy of a file go to those with one
//	index.go      large groups by place: so that a choice looks at few mirrors; indexed.go and race.go choose by it
//	place.go      where mirrors and clients are; countries.go has the middles of the countries
//	sticky.go     the same mirror for a while
//	shares.go     the share of each mirror in answers
//	explain.go    why a mirror is chosen, or not; reason.go, why a snapshot was made
package dnspool
