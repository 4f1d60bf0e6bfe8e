package marketplace

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/openkoo/connector/directory"
)

// However a body is written, its canonical form is the one that the rules,
// followed slowly, lead to.
func TestCanonicalIsWhatTheRulesSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := drawObject(t, 4, 40).body(&hand{t})
		canonical, err := Canonical(body)
		require.NoError(t, err, "%s", body)
		slow, err := slowCanonical(body)
		require.NoError(t, err)
		require.Equal(t, slow, string(canonical))

		again, err := Canonical(canonical)
		require.NoError(t, err)
		require.Equal(t, string(canonical), string(again), "it is its own canonical form")
	})
}

// White space, escapes and the order of top-level members do not matter.
func TestCanonicalKnowsNoHandwriting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		root := drawObject(t, 3, 40)
		root.lastOnes()
		first, err := Canonical(root.body(&hand{t}))
		require.NoError(t, err)
		order := make([]int, len(root.names))
		for i := range order {
			order[i] = i
		}
		shuffled := &tree{kind: '{'}
		for _, i := range rapid.Permutation(order).Draw(t, "order") {
			shuffled.names = append(shuffled.names, root.names[i])
			shuffled.members = append(shuffled.members, root.members[i])
		}
		second, err := Canonical(shuffled.body(&hand{t}))
		require.NoError(t, err)
		require.Equal(t, string(first), string(second))
	})
}

// One member that comes twice is found in an object of any size.
func TestCanonicalFindsEveryRepeat(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, maxMembers).Draw(t, "members")
		object := &tree{kind: '{'}
		for i := range n {
			object.names = append(object.names, fmt.Sprint("m", i))
			object.members = append(object.members, &tree{kind: '0', text: fmt.Sprint(i)})
		}
		i, j := rapid.IntRange(0, n-1).Draw(t, "one"), rapid.IntRange(0, n-1).Draw(t, "other")
		object.names[i] = object.names[j]
		body := (&tree{kind: '{', names: []string{"list"}, members: []*tree{{kind: '[', members: []*tree{object}}}}).body(nil)
		canonical, err := Canonical(body)
		require.NoError(t, err)
		slow, err := slowCanonical(body)
		require.NoError(t, err)
		require.Equal(t, slow, string(canonical))
	})
}

// Values longer than the writer's buffer come out whole, wherever its edges fall.
func TestCanonicalOfLongValues(t *testing.T) {
	t.Parallel()
	for _, size := range []int{canonicalBuffer - 20, canonicalBuffer - 1, canonicalBuffer, canonicalBuffer + 1, 3*canonicalBuffer + 7} {
		for _, value := range []string{
			`"` + strings.Repeat("x", size) + `"`,
			`"` + strings.Repeat("汉", size/3) + `"`,
			`"` + strings.Repeat(`\u6c49\/`, size/4) + `"`,
			`[ ` + strings.Repeat(`"a" , `, size/4) + `1]`,
			`{"a":1,"a":[ ` + strings.Repeat(`"a" , `, size/4) + `1]}`,
		} {
			body := []byte(`{"z":` + value + `,"a":1}`)
			canonical, err := Canonical(body)
			require.NoError(t, err)
			slow, err := slowCanonical(body)
			require.NoError(t, err)
			require.Equal(t, slow, string(canonical), "%d bytes of %.20s", size, value)
		}
	}
}

// A signature holds for what was signed, and for nothing else.
func TestSignatureHoldsForItsBodyAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const key = "ak-0-7f3c9e"
		body := drawObject(t, 3, 10).body(&hand{t})
		canonical, err := Canonical(body)
		require.NoError(t, err)
		sent := stamp{nonce: "N1", timestamp: "1680508066618"}
		sent.signature, err = SignKit(key, sent.nonce, sent.timestamp, body)
		require.NoError(t, err)
		holds := func(key string, sent stamp, body []byte) bool {
			members, err := scanBody(textOf(body))
			if err != nil {
				return false
			}
			_, ok := verifyKit([]string{"another", key}, sent, body, members)
			return ok
		}
		require.True(t, holds(key, sent, body))
		require.True(t, holds(key, sent, canonical))

		changed := bytes.Clone(canonical)
		changed[rapid.IntRange(0, len(changed)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if still, err := Canonical(changed); err != nil || !bytes.Equal(still, canonical) {
			require.False(t, holds(key, sent, changed), "%s", changed)
		}
		require.False(t, holds(key+"x", sent, body))
		require.False(t, holds(key, stamp{nonce: "N2", signature: sent.signature, timestamp: sent.timestamp}, body))
		require.False(t, holds(key, stamp{nonce: "N1", signature: sent.signature, timestamp: "1680508066619"}, body))
	})
}

// fuzzBodies seed both targets: whatever has its own path through the scanner.
func fuzzBodies() [][]byte {
	var bodies [][]byte
	for _, text := range []string{
		``, `{}`, ` { } `, `{"a":1,"a":2,"b":null}`, `{"b":[1,2.5e-3,-0,true,false,null,{"c":[]}],"a":{"x":1,"y":2,"x":3}}`,
		`{"a":"\u4e2d\/\"\\\b\f\n\r\t\u0001\ud83d\ude00\u2028"}`, `{"a":"\ud83d"}`, `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
		"{\"a\":\"\xff\"}", `{"a":1}}`, `[]`, `{"a":01}`, `{"a" 1}`, `{"\u0061":1,"a":2}`, `{"a":{"b":1,"\u0062":[{"c":1,"c":{}}]}}`,
		`{"instanceId":"","tenantId":"t","testFlag":"1","timeStamp":"20220413093539534","orgInfoList":"[{orgCode:\"1\", OrgName:\"产品部\", parentCode:\"2\" }]"}`,
		`{"instanceId":"i","tenantId":"t","testFlag":0,"timeStamp":"20220413093539534","orgInfo":[{"orgCode":"1","name":"n","parentCode":null}]}`,
		`{"instanceId":"i","tenantId":"t","testFlag":0,"timeStamp":"20220413093539534","flag":"1","orgCode":"1","orgName":"n","parentCode":"0"}`,
		`{"instanceId":"i","tenantId":"t","testFlag":0,"timeStamp":"20220413093539534","flag":2,"orderId":"","tenantCode":"c","name":"n","domainName":"d"}`,
		`{"instanceId":"i","tenantId":"t","testFlag":0,"timeStamp":"20220413093539534","flag":1,"appId":"a","clientId":"c","clientSecret":"s"}`,
		`{"instanceId":"i","tenantId":"t","testFlag":0,"timeStamp":"20220413093539534","flag":1,"appId":"a","currentSyncTime":"20220413093539534",` +
			`"userList":[{"userName":"u","name":"n","orgCode":"1","role":"user","enable":true,"extension":"{entryDate:\"2022-1-9\"}","employeeType":"4"}]}`,
	} {
		bodies = append(bodies, []byte(text))
	}
	return bodies
}

func FuzzCanonical(f *testing.F) {
	for _, body := range fuzzBodies() {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		canonical, err := Canonical(body)
		slow, slowErr := slowCanonical(body)
		if err != nil {
			requireInvalid(t, err)
			return
		}
		require.NoError(t, slowErr)
		require.Equal(t, slow, string(canonical))
		require.LessOrEqual(t, len(canonical), len(body))
		again, err := Canonical(canonical)
		require.NoError(t, err)
		require.Equal(t, string(canonical), string(again))
	})
}

func FuzzDecode(f *testing.F) {
	for _, body := range fuzzBodies() {
		for i := range directory.PushKinds() {
			f.Add(uint8(i), body)
		}
	}
	f.Fuzz(func(t *testing.T, kindIndex uint8, body []byte) {
		kinds := directory.PushKinds()
		kind := kinds[int(kindIndex)%len(kinds)]
		push, err := Decode(kind, body)
		if err != nil {
			requireInvalid(t, err)
			return
		}
		require.Equal(t, kind, push.Kind())
		require.NotEmpty(t, push.Scope.TenantID)
		require.True(t, push.Scope.Dataset.Valid())
		// What is signed is what is meant: the canonical form decodes alike.
		canonical, err := Canonical(body)
		require.NoError(t, err)
		again, err := Decode(kind, canonical)
		require.NoError(t, err)
		require.True(t, slices.Equal(again.Raw, canonical))
		push.Raw, again.Raw = nil, nil
		require.Equal(t, push, again)
	})
}

// requireInvalid wants an error that the door can answer.
func requireInvalid(t *testing.T, err error) {
	t.Helper()
	invalid, ok := errors.AsType[*directory.InvalidError](err)
	require.True(t, ok, "%T: %v", err, err)
	require.NotEmpty(t, invalid.Member)
	require.NotEmpty(t, invalid.Reason)
}
