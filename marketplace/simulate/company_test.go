package simulate

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
	"github.com/openkoo/connector/marketplace"
)

// live plays days of a company without a server.
func live(c *company, days int) (said []any) {
	for range days {
		said = append(said, c.found(), c.rename(), c.hire(), c.transfer(), c.list())
		if d, ok := c.move(); ok {
			said = append(said, d)
		}
		if u, ok := c.leave(); ok {
			said = append(said, u)
		}
		if d, users, ok := c.dissolve(); ok {
			said = append(said, d, users)
		}
	}
	return said
}

// Whatever happens to a company, what it says of itself is valid: a simulation
// must not blame a server for what no marketplace would send.
func TestACompanyStaysACompany(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := Life{
			Departments: rapid.IntRange(1, 30).Draw(t, "departments"), Users: rapid.IntRange(1, 30).Draw(t, "users"), Seed: rapid.Uint64().Draw(t, "seed"),
		}
		days := rapid.IntRange(0, 20).Draw(t, "days")
		c, again := newCompany(size), newCompany(size)
		require.Equal(t, live(c, days), live(again, days), "the same seed, the same life")

		require.NotEmpty(t, c.departments)
		require.NotEmpty(t, c.users)
		above := make(map[string]bool)
		for i, d := range c.departments {
			require.NotEmpty(t, d.Name)
			require.Equal(t, i > 0, d.ParentCode != "")
			require.True(t, i == 0 || above[d.ParentCode], "a department stands behind its parent: no cycle")
			require.False(t, above[d.Code])
			above[d.Code] = true
		}
		names := make(map[string]bool)
		for _, u := range c.users {
			require.True(t, above[u.OrgCode], "a user's department is there")
			require.False(t, names[u.UserName])
			names[u.UserName] = true
		}
		list := c.list().Departments
		require.ElementsMatch(t, c.departments, list)
		require.Len(t, slices.Compact(list), len(c.departments))
	})
}

// Whatever a server answers is read without harm, and judged.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{`{"resultCode":"000000","resultMsg":"success."}`, `{"resultCode":0}`, `null`, `[]`, "<html>", `{"resultCode":"000000","info":[{"appInfo":null}]}`, "\x00\xff"} {
		f.Add(200, "application/json", "", []byte(body))
	}
	f.Add(302, "", `sign_type="HMAC-SHA256", signature=""`, []byte{})
	f.Fuzz(func(t *testing.T, status int, contentType, sign string, body []byte) {
		const key = "an-access-key"
		a := &answer{status: status, header: http.Header{"Content-Type": {contentType}, "Body-Sign": {sign}}, body: body}
		if f := a.read(); f != nil {
			require.NotEmpty(t, f.Remedy)
			require.False(t, strings.ContainsAny(f.Got, "\n\x1b\x00"), "%q", f.Got)
			return
		}
		require.Equal(t, 200, status)
		require.LessOrEqual(t, len([]rune(a.message)), maxMessage)
		if f := tells([]string{"i"}); a.code != codeProcessing {
			var attempt attempt
			f(&attempt)
			_ = attempt.verify(a)
		}
		require.Equal(t, sign != marketplace.BodySign(key, body), a.checkBodySign([]string{key}) != nil)
		require.NotContains(t, shown(body, []string{key}), key)
	})
}

func TestAWrongCodeSaysWhatItUsuallyMeans(t *testing.T) {
	t.Parallel()
	for code, hint := range codeHints {
		f := wrongCode(NotIdempotent, []string{codeSuccess}, &answer{code: code})
		require.Equal(t, NotIdempotent, f.Kind, "a refusal where a success was wanted")
		f = wrongCode(WrongCode, []string{codeSuccess}, &answer{code: code})
		require.Equal(t, hint, f.Remedy)
	}
	f := wrongCode(AcceptsInput, []string{codeInvalid}, &answer{code: codeSuccess})
	require.Equal(t, AcceptsInput, f.Kind)
	f = wrongCode(AcceptsInput, []string{codeInvalid, codeDenied}, &answer{code: codeInternal, message: "oh"})
	require.Equal(t, &Finding{Kind: WrongCode, Expected: "000002 or 000001", Got: "000005 oh", Remedy: remedies[WrongCode]}, f)
	require.Equal(t, "wrong-code: : expected 000002 or 000001, got 000005 oh", f.String())
	require.Len(t, Kinds(), len(remedies))
	require.Len(t, make501(), directory.MaxUsers+1)
}
