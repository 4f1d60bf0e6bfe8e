// Package simulate plays the marketplace against a production address, ours or
// anybody's, and says where its answers are not what the protocol wants
// (spec/marketplace.md).
//
// A Case is one thing that the marketplace does: a few signed calls in a scene
// of their own, with ids that no other run uses. A scene ends at its first
// Finding. All cases that there are is the Catalogue; Select chooses of them, a
// Runner plays them one after the other, and the Report is for people, for CI
// (JUnit) and for programs (JSON).
//
// Nothing of the other side is needed but its address and the access keys that
// it shares with the marketplace: what cannot be seen in an answer is not
// judged.
package simulate
