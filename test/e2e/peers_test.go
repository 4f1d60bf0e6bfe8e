package e2e

import "testing"

// thirdParty starts further SCIM servers and names them as targets.
func thirdParty(*testing.T) (snapshots []snapshotter, targets string) { return nil, "" }
