package instance

import (
	"context"
	"fmt"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Completion ends what the seller's server had answered with "goes on".
type Completion struct {
	App *App `json:"appInfo"`
	// EventID and License end a request for a License.
	EventID string `json:"eventId"`
	License string `json:"license"`
}

// Complete ends provisioning (with App, or with nothing at all for goods that
// need no address), a request for a License, or both. A repeat changes nothing.
// It fails with storage.ErrNotFound, storage.ErrConflict for an instance that is
// released, or a *directory.InvalidError.
func (s *Service) Complete(ctx context.Context, dataset directory.Dataset, id string, c Completion) (directory.Instance, error) {
	if (c.License == "") != (c.EventID == "") {
		return directory.Instance{}, directory.Invalid("eventId", "eventId and license come together")
	}
	return s.store.ChangeInstance(ctx, dataset, id, "", func(i *directory.Instance, _ bool) (bool, error) {
		if !i.Exists() {
			return false, fmt.Errorf("instance %s is released: %w", id, storage.ErrConflict)
		}
		if c.App != nil {
			if err := s.setApp(i, c.App); err != nil {
				return false, err
			}
		}
		if c.App != nil || c.License == "" {
			i.Provisioned, i.NoResource = true, false
			s.drop(i, func(e *directory.InstanceEvent) bool { return e.Type == directory.EventCreated })
		}
		if c.License != "" {
			if _, asked := i.Licenses[c.EventID]; !asked {
				return false, directory.Invalid("eventId", "no License was asked for under %q", c.EventID)
			}
			s.setLicense(i, c.EventID, c.License)
			s.drop(i, func(e *directory.InstanceEvent) bool {
				return e.Type == directory.EventLicense && e.Members["eventId"] == c.EventID
			})
		}
		return true, nil
	})
}

// Retry makes what the seller's server has yet to be told due now, as when the
// server is mended. Where nothing waits nothing is changed. It fails with
// storage.ErrNotFound.
func (s *Service) Retry(ctx context.Context, dataset directory.Dataset, id string) (directory.Instance, error) {
	now := s.options.Now()
	i, err := s.store.ChangeInstance(ctx, dataset, id, "", func(i *directory.Instance, _ bool) (bool, error) {
		waits := len(i.Pending) > 0 && i.Attempts > 0 && i.DueAt.After(now)
		if waits {
			i.DueAt = now
		}
		return waits, nil
	})
	s.wakeUp()
	return i, err
}

// drop forgets the pending events that need no more telling.
func (s *Service) drop(i *directory.Instance, done func(*directory.InstanceEvent) bool) {
	for at := 0; at < len(i.Pending); {
		if done(&i.Pending[at]) {
			i.Told(i.Pending[at].ID, s.options.Now())
			continue
		}
		at++
	}
}
