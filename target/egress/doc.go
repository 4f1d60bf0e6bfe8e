// Package egress is how connectors leave the house: which addresses they may
// dial, whom they trust, and what a failed dial means.
//
// The URL of a target comes from a configuration that not everybody reads, and
// a name in it resolves to whatever its owner likes. So the address is checked
// when it is dialled, after it was resolved and for every connection anew: a
// name that changes its mind between check and use gains nothing.
package egress
