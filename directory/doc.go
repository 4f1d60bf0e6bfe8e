// Package directory is the domain: what a tenant's directory is made of, what
// a push asks for, and what a push changes.
//
// Everything here is pure. A push and the stored state it touches go in, a
// Plan comes out; no function reads a clock, a disk or a network. The rules
// are those of the marketplace's protocol (spec/marketplace.md) and of the
// house: an older push never undoes a newer one, a repeat changes nothing, and
// a full push that would delete too much is held for a person to decide.
package directory
