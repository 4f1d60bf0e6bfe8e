// Package coordination is what several replicas of the connector share beside
// the store: which nonces were seen and how they were answered, whose turn a
// tenant is, how fast a target may be sent to and whether at all, who works
// which task off, and that something changed.
//
// None of it is the truth. The store keeps that, and guards it itself: by the
// fencing tokens handed out here and by versions. All of what is here may be
// lost at any moment; then things take longer, and nothing goes wrong.
//
// coordination/local serves one process, coordination/redis any number of
// them. Fallback joins the two: while Redis is away, each replica goes on
// alone. coordination/coordinationtest holds every implementation to one suite.
package coordination
