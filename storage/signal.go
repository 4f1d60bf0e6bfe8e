package storage

import "sync"

// Signal tells a store's listeners that something changed. The zero Signal is
// ready to use.
type Signal struct {
	mu      sync.Mutex
	changed chan struct{}
}

// Changed is closed at the next Announce.
func (s *Signal) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// Announce wakes those who wait for what Changed gave them.
func (s *Signal) Announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
