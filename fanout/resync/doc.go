// Package resync compares what a target has with what it was brought to, and
// says what to make due so that it is so again.
//
// It reads the target's list once and the connector's slots in pages, and looks
// entities up as many at a time as a page holds. What it keeps in memory of
// each object and membership is a number of eight bytes, so that a million of
// them need some ten megabytes. The number is a hash under a key drawn anew each
// time; that two of a million coincide is one in ten million, and would hide one
// difference from one run.
//
// Nothing is concluded from what is not in a list that is not whole. What was
// changing while the list was read is not judged.
package resync
