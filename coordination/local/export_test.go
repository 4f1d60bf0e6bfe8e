package local

// Waiting counts who waits for a key.
func (l *Locks) Waiting(key string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q, held := l.held[key]; held {
		return len(q.waiting)
	}
	return 0
}
