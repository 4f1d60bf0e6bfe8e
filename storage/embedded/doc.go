// Package embedded keeps the connector's state in one SQLite file, with no
// server at all. It is the default store, for one process on one machine.
//
// One connection writes. It belongs to one goroutine, which takes the jobs
// that wait, runs each in a savepoint of one transaction, commits once with
// synchronous=FULL and only then answers: a hundred pushes that arrive
// together cost one fsync. Other connections read, undisturbed (WAL).
//
// A small push is planned inside the writer's transaction, where it sees all
// that came before. A full push is planned beside it, on a reader, while its
// scope's other pushes wait and other scopes go on.
package embedded
