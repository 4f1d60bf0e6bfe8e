package instance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/storage"
)

// Sealer keeps what must not be read at rest.
type Sealer interface {
	Seal(value []byte, purpose string) []byte
	Open(sealed []byte, purpose string) ([]byte, error)
}

// Spreader brings how an instance stands (directory.Standing) to the targets. It
// may be told the same again, and goes on where it was.
type Spreader interface {
	Spread(ctx context.Context, dataset directory.Dataset, instanceID string) error
}

// What sealed values are bound to.
const (
	contactPurpose  = "instance contact"
	passwordPurpose = "instance password"
	licensePurpose  = "instance license"
)

// Options shape a Service; the zero value serves.
type Options struct {
	Now    func() time.Time // default time.Now
	Logger *slog.Logger     // default slog.Default
	// Patience is how long a call of the marketplace waits for the seller's
	// server before it is answered "processing", default 5 s.
	Patience time.Duration
	// Lease is how long an attempt may take before another is made, default 1 min.
	Lease time.Duration
	// BackoffBase and BackoffMax bound the wait after a failed attempt,
	// defaults 1 s and 1 h.
	BackoffBase, BackoffMax time.Duration
	// Spreader tells the targets of a freeze or a release; nil where there are
	// none to tell.
	Spreader Spreader
	// Registerer takes the measures; nil: none are taken in.
	Registerer prometheus.Registerer
	// Jitter draws from [0, n), default math/rand/v2.
	Jitter func(n time.Duration) time.Duration
}

// Service answers the calls of the base interface.
type Service struct {
	store       storage.Instances
	provisioner Provisioner
	sealer      Sealer
	options     Options
	wake        chan struct{}
	fresh       chan directory.Instance // whose standing has just changed
	told        *prometheus.CounterVec
}

// New makes a service. Run tells the seller's server what waits.
func New(store storage.Instances, provisioner Provisioner, sealer Sealer, options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Patience <= 0 {
		options.Patience = 5 * time.Second
	}
	if options.Lease <= 0 {
		options.Lease = time.Minute
	}
	if options.BackoffBase <= 0 {
		options.BackoffBase = time.Second
	}
	if options.BackoffMax <= 0 {
		options.BackoffMax = time.Hour
	}
	if options.Jitter == nil {
		options.Jitter = rand.N[time.Duration]
	}
	s := &Service{
		store: store, provisioner: provisioner, sealer: sealer, options: options,
		wake: make(chan struct{}, 1), fresh: make(chan directory.Instance, freshest),
		told: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "orgsync_instance_events_total", Help: "Attempts to tell the seller's server of an instance, by event and outcome: done, waits, failed.",
		}, []string{"type", "outcome"}),
	}
	if options.Registerer != nil {
		options.Registerer.MustRegister(s.told)
	}
	return s
}

// Known reports whether an instance exists.
func (s *Service) Known(ctx context.Context, dataset directory.Dataset, id string) (bool, error) {
	i, err := s.store.Instance(ctx, dataset, id)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil && i.Exists(), err
}

// Serve carries a call out and says how it is to be answered. What it did is
// on disk when it returns. It fails with a *directory.InvalidError,
// directory.ErrUnknownInstance, or an error of the store.
func (s *Service) Serve(ctx context.Context, call *directory.InstanceCall) (directory.InstanceAnswer, error) {
	switch call.Activity {
	case directory.NewInstance:
		return s.create(ctx, call)
	case directory.QueryInstance:
		return s.query(ctx, call)
	case directory.GetLicense:
		return s.license(ctx, call)
	default:
		_, err := s.change(ctx, call)
		return directory.InstanceAnswer{InstanceID: call.InstanceID()}, err
	}
}

func (s *Service) create(ctx context.Context, call *directory.InstanceCall) (answer directory.InstanceAnswer, err error) {
	now := s.options.Now()
	planned := directory.PlanNewInstance(call, now)
	if len(call.Contact) > 0 {
		contact, err := json.Marshal(call.Contact)
		if err != nil {
			return answer, fmt.Errorf("encode contact: %w", err)
		}
		planned.SealedContact = s.sealer.Seal(contact, contactPurpose)
	}
	asks, err := s.settleNow(&planned)
	if err != nil {
		return answer, err
	}
	if asks {
		planned.DueAt = now.Add(s.options.Lease) // asked by this call itself
	}
	stored, created, err := s.store.CreateInstance(ctx, planned, call.OrderKeys())
	switch {
	case errors.Is(err, storage.ErrConflict):
		return answer, directory.Invalid("businessId", "names the instance of another order")
	case err != nil:
		return answer, err
	case created:
		s.options.Logger.Info("instance created", "instance", stored.ID, "dataset", string(stored.Dataset), "order", stored.OrderID)
		if asks {
			stored = s.askNow(ctx, stored)
		}
	case stored.Released && stored.Exists():
		if stored, err = s.revive(ctx, stored, call); err != nil {
			return answer, err
		}
	}
	return s.answerNew(&stored, call.LicenseEvent)
}

func (s *Service) revive(ctx context.Context, i directory.Instance, call *directory.InstanceCall) (directory.Instance, error) {
	var asks bool
	stored, err := s.store.ChangeInstance(ctx, i.Dataset, i.ID, "", s.plan(call, &asks))
	if err == nil {
		s.followUp(stored, asks)
	}
	return stored, err
}

func (s *Service) answerNew(i *directory.Instance, licenseEvent string) (answer directory.InstanceAnswer, err error) {
	answer.InstanceID = i.ID
	answer.NoResource = !i.Provisioned && i.NoResource
	answer.Processing = !i.Provisioned && !i.NoResource
	defer func() {
		// Of an order that was released nothing more will come: the marketplace
		// must not go on asking.
		if !i.Exists() && answer.Processing {
			answer.Processing, answer.NoResource = false, true
		}
	}()
	if answer.App, err = s.appOf(i); err != nil || licenseEvent == "" {
		return answer, err
	}
	answer.License, err = s.licenseOf(i, licenseEvent)
	answer.Processing = answer.Processing || (answer.License == "" && !answer.NoResource)
	return answer, err
}

// change plans and keeps a call that changes an instance.
func (s *Service) change(ctx context.Context, call *directory.InstanceCall) (stored directory.Instance, err error) {
	var asks bool
	stored, err = s.store.ChangeInstance(ctx, call.Dataset, call.InstanceID(), call.OrderKey(), s.plan(call, &asks))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return stored, directory.ErrUnknownInstance
	case errors.Is(err, storage.ErrConflict):
		return stored, directory.Invalid("orderId", "is the order of another instance")
	case err != nil:
		return stored, err
	case asks && call.Activity == directory.GetLicense:
		return s.askNow(ctx, stored), nil
	}
	s.followUp(stored, asks)
	return stored, nil
}

// followUp sees to it that those are told who have to be.
func (s *Service) followUp(i directory.Instance, asks bool) {
	if !i.SpreadAt.IsZero() {
		s.spreadSoon(i)
	}
	if asks {
		s.wakeUp()
	}
}

// plan applies a call, and what is known to come of it at once. asks says that
// the seller's server has to be asked. The time is that of the plan, in the
// store's turn, so that a repeat is never planned at an earlier time than what it
// repeats: an end that was set at one's time has come at the other's.
func (s *Service) plan(call *directory.InstanceCall, asks *bool) func(*directory.Instance, bool) (bool, error) {
	return func(i *directory.Instance, repeat bool) (bool, error) {
		now, before := s.options.Now(), len(i.Pending)
		changed, err := directory.PlanInstance(i, call, repeat, now)
		if err != nil || !changed {
			return changed, err
		}
		waits, err := s.settleNow(i)
		if err != nil {
			return false, err
		}
		if waits && call.Activity == directory.GetLicense && before == 0 {
			i.DueAt = now.Add(s.options.Lease) // asked by the call itself
		}
		if asks != nil {
			*asks = waits && (call.Activity != directory.GetLicense || before == 0)
		}
		return true, nil
	}
}

// settleNow settles the pending events that need no server. It reports whether
// some are left.
func (s *Service) settleNow(i *directory.Instance) (waits bool, err error) {
	for len(i.Pending) > 0 {
		event := i.Pending[0]
		outcome, ok := s.provisioner.Answer(i, &event)
		if !ok {
			return true, nil
		}
		if err := s.settle(i, &event, outcome); err != nil {
			return false, err
		}
	}
	return false, nil
}

// settle notes what came of an event.
func (s *Service) settle(i *directory.Instance, event *directory.InstanceEvent, outcome Outcome) error {
	if outcome.App != nil {
		if err := s.setApp(i, outcome.App); err != nil {
			return err
		}
	}
	if id := event.Members["eventId"]; outcome.License != "" && event.Type == directory.EventLicense {
		s.setLicense(i, id, outcome.License)
	}
	if event.Type == directory.EventCreated {
		i.NoResource = false
		i.Provisioned = i.Provisioned || !outcome.Waits
	}
	i.Told(event.ID, s.options.Now())
	return nil
}

func (s *Service) setApp(i *directory.Instance, app *App) error {
	if err := app.Check(); err != nil {
		return err
	}
	i.App = &directory.AppInfo{FrontEndURL: app.FrontEndURL, AdminURL: app.AdminURL, UserName: app.UserName, Memo: app.Memo}
	if app.Password != "" {
		i.App.SealedPassword = s.sealer.Seal([]byte(app.Password), passwordPurpose)
	}
	return nil
}

// setLicense keeps the first License of an event: it never becomes another.
func (s *Service) setLicense(i *directory.Instance, eventID, text string) {
	license := i.Licenses[eventID]
	if len(license.SealedText) > 0 {
		return
	}
	license.SealedText = s.sealer.Seal([]byte(text), licensePurpose)
	if i.Licenses == nil {
		i.Licenses = make(map[string]directory.License, 1)
	}
	i.Licenses[eventID] = license
}

func (s *Service) license(ctx context.Context, call *directory.InstanceCall) (answer directory.InstanceAnswer, err error) {
	stored, err := s.change(ctx, call)
	if err != nil {
		return answer, err
	}
	answer.InstanceID = stored.ID
	answer.License, err = s.licenseOf(&stored, call.LicenseEvent)
	answer.Processing = answer.License == ""
	return answer, err
}

func (s *Service) licenseOf(i *directory.Instance, eventID string) (string, error) {
	sealed := i.Licenses[eventID].SealedText
	if len(sealed) == 0 {
		return "", nil
	}
	text, err := s.sealer.Open(sealed, licensePurpose)
	if err != nil {
		return "", fmt.Errorf("license of instance %s: %w", i.ID, err)
	}
	return string(text), nil
}

// query answers for each id that is known; the others are named.
func (s *Service) query(ctx context.Context, call *directory.InstanceCall) (answer directory.InstanceAnswer, err error) {
	for _, id := range call.InstanceIDs {
		stored, err := s.store.Instance(ctx, call.Dataset, id)
		switch {
		case errors.Is(err, storage.ErrNotFound), err == nil && !stored.Exists():
			answer.Unknown = append(answer.Unknown, id)
			continue
		case err != nil:
			return answer, err
		}
		app, err := s.appOf(&stored)
		if err != nil {
			return answer, err
		}
		answer.Processing = answer.Processing || !stored.Provisioned
		answer.Info = append(answer.Info, directory.InstanceInfo{InstanceID: id, App: app})
	}
	return answer, nil
}

func (s *Service) appOf(i *directory.Instance) (*directory.OpenAppInfo, error) {
	if i.App == nil {
		return nil, nil
	}
	app := &directory.OpenAppInfo{FrontEndURL: i.App.FrontEndURL, AdminURL: i.App.AdminURL, UserName: i.App.UserName, Memo: i.App.Memo}
	if len(i.App.SealedPassword) > 0 {
		password, err := s.sealer.Open(i.App.SealedPassword, passwordPurpose)
		if err != nil {
			return nil, fmt.Errorf("password of instance %s: %w", i.ID, err)
		}
		app.Password = string(password)
	}
	return app, nil
}
