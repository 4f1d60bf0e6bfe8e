//go:build !unix

package fanout

import "time"

// processorTime is not known here.
func processorTime() time.Duration { return 0 }
