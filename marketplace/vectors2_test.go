package marketplace

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
)

// What the guides' reference server signs beside the canonical payload; made with
// an implementation that is not ours.
func TestVectors_OfEveryFormThatIsSigned(t *testing.T) {
	t.Parallel()
	var vectors struct {
		Signatures []struct {
			Name, AccessKey, Nonce, Timestamp, Body, Canonical, KitV2Sign               string
			BaseV2Signature, BaseRawSignature, BaseQuotedSignature, BaseSortedSignature string
			V1Joined, V1AuthToken, V1JoinedWithoutBlanks, V1AuthTokenWithoutBlanks      string
			V1Answer, V1BodySign                                                        string
		}
	}
	readVectors(t, "signatures-2.json", &vectors)
	require.NotEmpty(t, vectors.Signatures)
	for _, v := range vectors.Signatures {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			members, err := scanBody(v.Body)
			require.NoError(t, err)
			canonical, err := Canonical([]byte(v.Body))
			require.NoError(t, err)
			require.Equal(t, v.Canonical, string(canonical))
			keys := []string{"other", v.AccessKey}
			_, ok := verifyKit(keys, stamp{nonce: v.Nonce, signature: v.KitV2Sign, timestamp: v.Timestamp}, []byte(v.Body), members)
			require.True(t, ok)
			for _, signature := range []string{v.BaseV2Signature, v.BaseRawSignature, v.BaseQuotedSignature, v.BaseSortedSignature} {
				if signature == "" {
					continue
				}
				key, ok := verifyBase(keys, signature, v.Nonce, v.Timestamp, []byte(v.Body), members)
				require.True(t, ok, signature)
				require.Equal(t, v.AccessKey, key)
				_, ok = verifyBase(keys, signature, v.Nonce+"x", v.Timestamp, []byte(v.Body), members)
				require.False(t, ok)
			}
			require.Equal(t, v.V1BodySign, BodySign(v.AccessKey, []byte(v.V1Answer)))
			if v.V1AuthToken == "" {
				return
			}
			params := memberParams(members)
			require.Equal(t, v.V1Joined, JoinV1(params))
			require.Equal(t, v.V1JoinedWithoutBlanks, JoinV1(WithoutBlanks(params)))
			timeStamp := (&form{members: members}).text("timeStamp", 17, mayBeAbsent)
			for _, token := range []string{v.V1AuthToken, v.V1AuthTokenWithoutBlanks} {
				key, err := verifyToken(keys, token, timeStamp, params, WithoutBlanks(params))
				require.NoError(t, err)
				require.Equal(t, v.AccessKey, key)
			}
		})
	}
}

func TestAmbiguous_RefusesAJoinWithTwoReadings(t *testing.T) {
	t.Parallel()
	for value, refused := range map[string]bool{
		"R&D": false, "A&B=C": false, "n&parentCode=99": true, "a&b&flag=1": true, "&orgName=x": true, "x&": false, "x&parentCode": false, "x&parentCodes=1": false,
	} {
		err := ambiguous([]Param{{"orgName", value}, {"flag", "1"}})
		require.Equal(t, refused, err != nil, value)
		if refused {
			require.ErrorContains(t, err, "orgName: holds &")
		}
	}
}

func TestForeign_RefusesAnotherInterfacesMembers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind    directory.PushKind
		body    string
		refused bool
	}{
		{directory.TenantSync, `{"tenantId":"t","orgCode":"1","flag":0}`, true},
		{directory.TenantSync, `{"tenantId":"t","orgCode":"","userList":null,"flag":0,"orderId":"o","further":1}`, false},
		{directory.AllOrgSync, `{"orgInfoList":[],"flag":1,"appId":"a"}`, false},
		{directory.SingleOrgSync, `{"orgCode":"1","userList":[]}`, true},
		{directory.AuthSync, `{"appId":"1","clientSecret":"x"}`, true},
	} {
		members, err := scanBody(c.body)
		require.NoError(t, err)
		require.Equal(t, c.refused, foreign(c.kind, members) != nil, c.body)
	}
}

func TestPlausible_TellsSecondsThatAreHalfAStamp(t *testing.T) {
	t.Parallel()
	require.True(t, plausible("a2177", "1772100000"), "1771772100000 is a stamp of 2026")
	require.False(t, plausible("nonce", "1772100000"))
	require.False(t, plausible("n999", "1772100000"), "of the year 2286 and later, or before 2020")
	require.False(t, plausible("1", "1772100000"))
}

// Answers are ASCII, whatever they say, and say what they said.
func TestAnswers_AreASCII(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		message := rapid.StringN(0, 100, -1).Draw(rt, "message")
		body := answerBody(codeInvalid, message)
		for _, b := range body {
			require.Less(rt, b, byte(utf8.RuneSelf))
		}
		var answer struct{ ResultCode, ResultMsg string }
		require.NoError(rt, json.Unmarshal(body, &answer))
		require.Equal(rt, message, answer.ResultMsg)
	})
}
