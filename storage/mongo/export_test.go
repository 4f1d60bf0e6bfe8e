package mongo

// NewID makes names for tests.
func NewID() string { return newID() }
