// Package directorytest says what pushes mean, plainly, and makes random ones:
// planners and stores are held to it.
package directorytest
