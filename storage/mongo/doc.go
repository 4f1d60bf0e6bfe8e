// Package mongo keeps the connector's state in MongoDB, or in a service that
// speaks its protocol, for any number of replicas at once.
//
// It uses no transaction, so that a standalone server and every compatible
// service will do. What stands in for them:
//
// A turn. Pushes of one scope apply one after the other. A push opens the
// scope's document with one findAndModify, which numbers the turn and returns
// the scope's state; until the turn is closed no other can be opened. A turn
// whose holder died or was held up is settled by whoever comes next, once its
// time has run out: barred, if its push was not committed, carried out if it was.
//
// A commit. The push's journal document, inserted with everything the push
// changes (the after-images of the entities and of the scope), is the commit.
// What follows only carries it out, by anyone, any number of times: an entity
// is written if it was last written in an earlier turn, the scope is written
// and closed if it is still open for this push. A late write of a turn that
// was settled by another therefore changes nothing.
//
// The feed. An entity is written with no place in the feed. A batch of such
// entities is listed, with the numbers they get, in the feed's own document,
// compare-and-swap; then the numbers are written, and the batch is closed.
// Anyone may finish an open batch. Readers read up to the last closed one, so
// that no number shows up behind a reader's back.
//
// The slots. A relay turns the feed into slots and remembers how far it came;
// doing it twice is harmless. Claims and outcomes carry the fence of the lease
// they were made under.
//
// The instances. A creation writes its instance unmade, seen by nobody, claims
// its orders one document each, and makes it. Of creations that want the same
// order one gets it and the others are taken away; whoever meets one that was
// left half done finishes it. A change is one write of the instance, orders
// applied to it included, compare-and-swap.
//
// Every operation has a bound in time, and every write waits for a majority.
package mongo
