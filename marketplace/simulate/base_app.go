package simulate

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/openkoo/connector/marketplace"
	"github.com/openkoo/connector/marketplace/client"
)

// info is an instance as queryInstance and V1's newInstance tell of it.
type info struct {
	InstanceID string   `json:"instanceId"`
	App        *appInfo `json:"appInfo"`
}

type appInfo struct {
	FrontEndURL string `json:"frontEndUrl"`
	AdminURL    string `json:"adminUrl"`
	UserName    string `json:"userName"`
	Password    string `json:"password"`
	Memo        string `json:"memo"`
}

// infos reads the member info of a query.
func infos(a *answer) ([]info, *Finding) {
	raw := a.members["info"]
	if raw == nil {
		return nil, finding(MissingMember, "info", "an answer without it")
	}
	var list []info
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, finding(WrongMember, "info: a list of {instanceId, appInfo}", shown(raw, nil))
	}
	return list, nil
}

// check holds appInfo to §4.
func (app *appInfo) check() *Finding {
	switch u, err := url.Parse(app.FrontEndURL); {
	case app.FrontEndURL == "":
		return finding(MissingMember, "appInfo.frontEndUrl", "an answer without it")
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return finding(WrongMember, "appInfo.frontEndUrl: an absolute https:// address", cut(app.FrontEndURL, maxGot))
	}
	for _, bound := range []struct {
		name, text string
		most       int
	}{{"frontEndUrl", app.FrontEndURL, 512}, {"adminUrl", app.AdminURL, 512}, {"memo", app.Memo, 1024}} {
		if n := utf8.RuneCountInString(bound.text); n > bound.most {
			return finding(WrongMember, fmt.Sprintf("appInfo.%s: at most %d characters", bound.name, bound.most), strconv.Itoa(n))
		}
	}
	return nil
}

// tells is what a query has to say of instances that are ready.
func tells(ids []string) change {
	return verified(func(a *answer) *Finding {
		if a.code == codeProcessing {
			return nil // asked again
		}
		list, f := infos(a)
		if f != nil {
			return f
		}
		for _, id := range ids {
			i := slices.IndexFunc(list, func(one info) bool { return one.InstanceID == id })
			switch {
			case i < 0:
				return finding(MissingMember, "info of instance "+id, fmt.Sprintf("info of %d others", len(list)))
			case list[i].App == nil:
				return finding(MissingMember, "appInfo of instance "+id, "info without it")
			}
			if f := list[i].App.check(); f != nil {
				return f
			}
		}
		return nil
	})
}

// encrypted orders with a contact that is encrypted, and opens what comes back.
func encrypted(how marketplace.EncryptType) func(*scene) {
	return func(s *scene) {
		seal := func(text string) string { return marketplace.EncryptSensitive(s.base.Key, text, how) }
		s.buy("an instance is ordered", s.order(), edited(func(m client.Members) client.Members {
			return m.With("mobilePhone", seal("13900000000")).With("email", seal("sim@simulated.example.com")).With("encryptType", strconv.Itoa(int(how)))
		}), verified(func(a *answer) *Finding { return s.opens(a, how) }))
	}
}

// opens checks what V1's newInstance answers in appInfo.
func (s *scene) opens(a *answer, how marketplace.EncryptType) *Finding {
	if f := hasInstance(a); f != nil || a.members["appInfo"] == nil {
		return f
	}
	var app appInfo
	if json.Unmarshal(a.members["appInfo"], &app) != nil {
		return finding(WrongMember, "appInfo: an object", shown(a.members["appInfo"], nil))
	}
	if f := app.check(); f != nil {
		return f
	}
	if app.UserName == "" && app.Password == "" {
		return nil
	}
	if got := strings.Trim(string(a.members["encryptType"]), `"`); got != strconv.Itoa(int(how)) {
		return finding(BadEncryption, fmt.Sprintf("encryptType %d, as in the call", how), cut(got, maxGot))
	}
	for name, sealed := range map[string]string{"userName": app.UserName, "password": app.Password} {
		if sealed == "" {
			continue
		}
		if _, err := marketplace.DecryptSensitive(s.base.Key, sealed, how); err != nil {
			return finding(BadEncryption, "appInfo."+name+" encrypted with the access key", "what does not decrypt")
		}
	}
	return nil
}
