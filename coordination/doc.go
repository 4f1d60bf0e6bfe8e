// Package coordination is what several replicas of the connector have to
// agree on beside the store: which nonces were seen and how they were answered.
// coordination/local serves one process; coordination/coordinationtest holds
// every implementation to the same laws.
package coordination
