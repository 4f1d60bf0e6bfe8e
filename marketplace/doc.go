// Package marketplace is the door: it speaks the protocol by which the
// marketplace calls a seller's production address (spec/marketplace.md).
//
// A request is read within bounds, its signature checked over the canonical
// form of its body, its nonce remembered with the answer, and its members
// decoded into a directory.Push for the Receiver. Whatever is wrong with it is
// answered with the code of spec/marketplace.md §2 and a message that names
// the member; then nothing has been written.
//
// JSON is read by a scanner of our own: the signature covers the tokens as
// they were sent, and a list of a million departments has to be read without
// a million small objects.
package marketplace
