// Package mapping turns the members of a user or a department into the
// attributes of a target, by expressions in the configuration.
//
// A connector says by a Schema which attributes it sets, by which expression it
// sets each of them unmapped, and which others may be mapped. Compile checks
// rules against it at start-up: an attribute there is not, a member there is
// not, a value of the wrong type are errors with the expression and the place
// in it.
//
// An expression is a function of one entity: it reads no clock and no other
// entity, has no variables and no loops, and its result is bounded. What it
// makes is part of what the target is to have (target.User, target.Department),
// so an object is sent again exactly if it comes out differently.
package mapping
