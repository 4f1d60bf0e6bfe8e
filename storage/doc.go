// Package storage is the store's port: the records it keeps beside the
// directory itself (the journal of pushes, the slots of the fan-out), the
// sentinel errors, and the methods a store offers, split by who calls them.
//
// A store promises three things. What it has acknowledged is on disk. A push
// is applied wholly or not at all. Pushes of one scope apply one after the
// other, each seeing all that came before. storage/storagetest holds every
// store to them.
package storage
