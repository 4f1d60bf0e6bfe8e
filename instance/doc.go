// Package instance keeps the lifecycle of what buyers have bought
// (spec/marketplace.md §4, §5): it answers the calls of the base interface and
// lets the seller take part by a Provisioner.
//
// Every call is planned by the directory package, kept by the store, and only
// then answered. What the seller's server has to be told is kept with the
// instance in the same write; telling it is retried until it has listened.
package instance
