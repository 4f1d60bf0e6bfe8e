package instance

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/openkoo/connector/directory"
)

// Outcome is what came of an event on the seller's side.
type Outcome struct {
	// Waits says that the seller has taken the event and goes on; it reports
	// the end by Service.Complete.
	Waits bool
	// NoResource says that the seller has nothing to provision with for now.
	NoResource bool
	// App is how the buyer gets in; nil leaves it as it is.
	App *App
	// License is the text of the License asked for, empty if there is none yet.
	License string
}

// measure is what an attempt counts as.
func (o Outcome) measure(err error) string {
	switch {
	case err != nil, o.NoResource:
		return "failed"
	case o.Waits:
		return "waits"
	default:
		return "done"
	}
}

// App is directory.AppInfo with its password in clear: on its way from the
// seller and to the marketplace, never at rest.
type App struct {
	FrontEndURL string `json:"frontEndUrl"`
	AdminURL    string `json:"adminUrl,omitempty"`
	UserName    string `json:"userName,omitempty"`
	Password    string `json:"password,omitempty"`
	Memo        string `json:"memo,omitempty"`
}

// Check refuses what the marketplace would not take (spec/marketplace.md §4).
func (a *App) Check() error {
	for _, m := range []struct {
		name, text string
		most       int
		mandatory  bool
	}{
		{"frontEndUrl", a.FrontEndURL, 512, true}, {"adminUrl", a.AdminURL, 512, false},
		{"userName", a.UserName, 128, false}, {"password", a.Password, 128, false}, {"memo", a.Memo, 1024, false},
	} {
		switch n := len([]rune(m.text)); {
		case n == 0 && m.mandatory:
			return directory.Invalid("appInfo."+m.name, "missing")
		case n > m.most:
			return directory.Invalid("appInfo."+m.name, "longer than %d", m.most)
		}
	}
	return nil
}

// Provisioner is how the seller takes part.
type Provisioner interface {
	// Answer says what comes of an event where no server has to be asked. It is
	// pure: it may be called again for the same event.
	Answer(i *directory.Instance, event *directory.InstanceEvent) (Outcome, bool)
	// Tell asks the seller's server. It may be called again for the same event,
	// which the server knows by its ID.
	Tell(ctx context.Context, i *directory.Instance, event *directory.InstanceEvent, contact map[string]string) (Outcome, error)
}

// Templates are the answers of a static provisioner. {instanceId}, {orderId},
// {orderLineId} and {productId} stand for the instance's own; in the two URLs
// they are escaped.
type Templates struct {
	FrontEndURL, AdminURL, Memo string
	// License answers a request for a License; {eventId} stands for the request's.
	License string
}

// Static answers from templates. Where there is none the instance, or the
// License, waits until somebody completes it.
type Static struct{ templates Templates }

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// NewStatic makes a static provisioner. It refuses templates that cannot be
// filled in.
func NewStatic(t Templates) (*Static, error) {
	known := "{instanceId} {orderId} {orderLineId} {productId}"
	for name, text := range map[string]string{"frontEndUrl": t.FrontEndURL, "adminUrl": t.AdminURL, "memo": t.Memo, "license": t.License} {
		allowed := known
		if name == "license" {
			allowed += " {eventId}"
		}
		for _, found := range placeholder.FindAllString(text, -1) {
			if !strings.Contains(allowed, found) {
				return nil, fmt.Errorf("instances.%s: %s stands for nothing; want one of %s", name, found, allowed)
			}
		}
	}
	for name, text := range map[string]string{"frontEndUrl": t.FrontEndURL, "adminUrl": t.AdminURL} {
		if text == "" {
			continue
		}
		if u, err := url.Parse(placeholder.ReplaceAllString(text, "x")); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, fmt.Errorf("instances.%s: %q: want https:// and a host", name, text)
		}
	}
	bare := App{FrontEndURL: cmp.Or(t.FrontEndURL, "-"), AdminURL: t.AdminURL, Memo: t.Memo}
	if err := bare.Check(); err != nil {
		return nil, fmt.Errorf("instances: %w", err)
	}
	return &Static{t}, nil
}

// Answer implements Provisioner.
func (s *Static) Answer(i *directory.Instance, event *directory.InstanceEvent) (Outcome, bool) {
	switch event.Type {
	case directory.EventCreated:
		if s.templates.FrontEndURL == "" { // License goods need no address
			return Outcome{Waits: s.templates.License == ""}, true
		}
		return Outcome{App: &App{
			FrontEndURL: fill(s.templates.FrontEndURL, i, event, url.QueryEscape),
			AdminURL:    fill(s.templates.AdminURL, i, event, url.QueryEscape),
			Memo:        fill(s.templates.Memo, i, event, plain),
		}}, true
	case directory.EventLicense:
		return Outcome{License: fill(s.templates.License, i, event, plain), Waits: s.templates.License == ""}, true
	default:
		return Outcome{}, true
	}
}

// Tell implements Provisioner; there is no server to tell.
func (*Static) Tell(context.Context, *directory.Instance, *directory.InstanceEvent, map[string]string) (Outcome, error) {
	return Outcome{Waits: true}, nil
}

func plain(text string) string { return text }

func fill(template string, i *directory.Instance, event *directory.InstanceEvent, escape func(string) string) string {
	return strings.NewReplacer(
		"{instanceId}", escape(i.ID), "{orderId}", escape(i.OrderID), "{orderLineId}", escape(i.OrderLineID),
		"{productId}", escape(i.ProductID), "{eventId}", escape(event.Members["eventId"]),
	).Replace(template)
}
