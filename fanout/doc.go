// Package fanout brings every target to the stored state.
//
// It works on state, not on a log: for each (target, entity) the store keeps
// one slot with the version the target should have and the version it has. A
// change overwrites the desired side, so a hundred edits cost one request, the
// newest version always wins, and a dead target costs O(entities).
//
// Each target has a runner of its own, so that a dead one never holds up
// another. The runner relays the store's change feed into slots and works the
// due slots of each scope off in rounds; a scope has one round at a time.
// A round goes through fixed phases:
//
//  1. departments are created, renamed and moved, parents before children
//     where the target keeps the tree itself;
//  2. accounts are put;
//  3. placements (a department in its parent) and memberships (an account in
//     its department) are added, then old ones removed, batched by group;
//  4. accounts are deleted;
//  5. departments are deleted, children before parents.
//
// A slot whose department is not at the target yet waits for it and is woken
// when it comes; it blocks nobody else. Before a round sends anything the
// store marks its slots uncertain, so that an attempt cut off by a crash is
// known and the object is looked for before it is created again.
package fanout
