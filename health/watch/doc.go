// Package watch joins what several mirrorpools see of the same mirrors into one verdict.
//
// A mirrorpool that takes part is a watcher. It shares its verdicts with the others, and each of them comes to the
// joint verdicts by itself: there is no leader, no vote to wait for, and no service beside it. Membership, failure
// detection, encryption and transport are those of github.com/hashicorp/memberlist.
//
// # What is shared
//
// A [View] is what one watcher says of the endpoints that it checks, with a [Note] on each topic beside them, such as
// drains. Nothing else is shared: no client, no request, no configuration. Only the watcher itself makes its view,
// and stamps each part of it with a count that grows. So a view is merged by taking of each part the one with the
// higher count, and it does not matter in which order, how often or by whom views arrive: a [Book] is a
// join-semilattice, and old messages change nothing.
//
// A change is gossiped over UDP at once. Whole views go over TCP when a member joins, when the list of mirrors changes,
// and every few seconds between two members at random, which mends what the network has lost. Changes are numbered. A
// watcher that has missed one asks for the whole view: the other one itself, and if that does not help, a third one.
// Meanwhile the opinions that it has count for six intervals, so that lost packets change nothing; and then no more, so
// that two that cannot reach each other do not go by what was said long ago.
//
// # The rule
//
// [Decide] is the whole rule, of one endpoint in one role:
//
//   - Watchers that cannot tell abstain: their verdict is unknown, or explained by a fault of their own host (see
//     health.Suspect), or they were not heard of for three intervals, or their eyes do not count for the role.
//
//   - The endpoint is unfit if more than the quorum of the others say so.
//
//   - It is also unfit if two of them have seen evidence, such as a wrong certificate or old content: something that a
//     mirror has sent and that anyone who looks sees. One alone does not count, and so no single watcher, broken or
//     lying, can take a mirror away or bring one back. The others look at it at once; see [Group.Claims].
//
//   - Fewer than two votes decide nothing, and neither do two that differ. Then the last joint verdict holds for three
//     intervals, also over a restart, and after that the watcher's own. With fewer than two votes, what it has seen
//     change since counts at once.
//
//   - A decision that differs from the last one only because watchers abstain that voted then waits for three
//     intervals: they may be back at once.
//
//   - A joint verdict that changes too often is flapping, and stays unfit until the votes come to up for a while.
//
// With fewer than two others heard of, each watcher goes by its own verdicts. Rise and fall are those of each watcher,
// as is a damping that acts before the joint one.
//
// # Trust
//
// Each program with the key is a member, and can speak in the name of any other one. A member that lies by itself
// cannot change a verdict on which the others agree; two can, or one beside another that errs. What members send is
// bounded by this watcher's own list of mirrors.
//
//	view.go   views, and the opinions in them
//	notes.go  what else watchers tell each other
//	book.go   how views are merged
//	joint.go  the rule, and the memory of what was decided
//	settle.go what keeps joint verdicts from changing too often
//	saved.go  what of them outlives a restart
//	group.go  the members: memberlist joined to the rest
//	listen.go where this watcher listens
//	transport.go limits on connections
//	seek.go   how it finds the others
//	verdicts.go  a report's verdicts made the joint ones
//	gossip.go what other members send, and the state that two exchange
//	send.go  what is sent to them
//	missed.go how what was missed is asked for, and passed on
//	key.go    the key file
//	status.go what an administrator wants to know
package watch
