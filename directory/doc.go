// Package directory is the domain: what a tenant's directory is made of, what
// a push asks for, and what a push changes.
//
// Everything here is pure. A push and a view of the stored state go in, a Plan
// comes out; no function reads a clock, a disk or a network. The rules are
// those of the marketplace's protocol (spec/marketplace.md) and of the house.
//
// # What is promised
//
// The state of a scope is what its accepted pushes mean, whatever order they
// came in and however often. For each entity the newest word counts, by the
// push's timeStamp; of words of the same time the last to arrive. A full push
// is a word about every department there is, listed or not; a deletion of an
// account is a word about all its grants; each grant has a time of its own.
// A deleted entity stays as a tombstone with its time, so that a late push
// cannot bring it back.
//
// In particular: a push taken twice equals once and plans nothing the second
// time; a full push does not depend on the order of its list, and neither
// changes nor deletes what a newer push has set; two orders in which the same
// pushes are accepted end in the same state.
//
// What is not promised:
//
//   - Different words about one entity with the same timeStamp have no order but
//     that of arrival; a repeat arrives anew.
//   - A push that is refused has no effect, and the sender is told so. A move
//     under one's own branch is refused as a cycle where it arrives, also if
//     another order would have made room for it.
//   - Deletions that the Guard holds wait for a person; until then, and if they
//     are rejected, the departments stay. An approval completes the full push
//     to what it means, except that it leaves alone what is newer by then.
//   - Versions count changes made here, so they do depend on the order.
//
// # The tree
//
// A department whose parent does not live waits (ParentMissing) and hangs at the
// root until the parent comes. A push that would newly put a department below
// itself is refused. A cycle can still come together from words that were each
// fine: a full push that arrives late says "b is under a", and a newer push had
// said "a is under b". Then of the cycle's members the one whose word is oldest
// waits (of equals, which are all a full push's, the smallest code), until a
// member moves, goes, or is told again.
package directory
