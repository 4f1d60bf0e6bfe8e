package marketplace

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// documented is a member as docs/marketplace.md has it.
type documented struct {
	name, kind, must string
	most             int // characters, 0 where the type has no bound
}

// pageOf reads the interfaces of a page by generation and name.
func pageOf(t *testing.T, path string) (page map[string]map[string][]documented, text string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| (M|M0|M\\+|M\\+0|O) \\| [^|]* \\|$")
	bound := regexp.MustCompile(`^String\((\d+)\)$`)
	page = make(map[string]map[string][]documented)
	for _, section := range strings.Split(string(raw), "\n## ")[1:] {
		parts := strings.Split(section, "\n### ")
		title, _, _ := strings.Cut(parts[0], "\n")
		generation := ""
		for _, name := range []string{"kit", "V2", "V1"} {
			if generation == "" && strings.Contains(strings.ToLower(title), strings.ToLower(name)) {
				generation = name
			}
		}
		for _, part := range parts[1:] {
			name, rest, _ := strings.Cut(part, "\n")
			rows := row.FindAllStringSubmatch(rest, -1)
			require.Len(t, rows, strings.Count(rest, "\n| `"), "every row of %s can be read", name)
			if page[generation] == nil {
				page[generation] = make(map[string][]documented)
			}
			for _, r := range rows {
				d := documented{name: r[1], kind: r[2], must: r[3]}
				if b := bound.FindStringSubmatch(r[2]); b != nil {
					d.most, err = strconv.Atoi(b[1])
					require.NoError(t, err)
				}
				page[generation][name] = append(page[generation][name], d)
			}
		}
	}
	return page, string(raw)
}

var pages = []string{"../docs/marketplace.md", "../docs/marketplace.zh-CN.md"}

// fitting is a value that a member takes.
func fitting(activity string, d documented) any {
	values := map[string]any{
		"activity": activity, "flag": 1, "testFlag": 0, "timeStamp": "20260101080000000", "currentSyncTime": "20260101080000000",
		"expireTime": "20270101000000", "scene": "RENEWAL", "status": "FREEZE", "instanceStatus": "FREEZE", "userList[].role": "user", "userList[].enable": "true",
		"userList": []any{map[string]any{}}, "orgInfoList": []any{map[string]any{}},
	}
	if value, ok := values[d.name]; ok {
		return value
	}
	return "x"
}

// sample is a call with the members that it must have, and one changed.
func sample(activity string, all []documented, change string, value any) map[string]any {
	call := make(map[string]any)
	set := func(name string, value any) {
		at := call
		if list, inner, nested := strings.Cut(name, "[]."); nested {
			items, ok := call[list].([]any)
			if !ok {
				return
			}
			at, _ = items[0].(map[string]any)
			name = inner
		}
		if at[name] = value; value == nil {
			delete(at, name)
		}
	}
	for _, d := range all {
		if d.must != "O" {
			set(d.name, fitting(activity, d))
		}
	}
	if change != "" {
		set(change, value)
	}
	return call
}

// decodeSample decodes a call as its generation does.
func decodeSample(t *testing.T, generation, activity string, call map[string]any) error {
	t.Helper()
	body, err := json.Marshal(call)
	require.NoError(t, err)
	members, err := scanBody(string(body))
	require.NoError(t, err)
	switch generation {
	case "kit":
		_, err = Decode(directory.PushKind(activity), body)
	case "V2":
		_, err = decodeCall(&form{members: members}, time.Now())
	default:
		_, _, err = decodeCallV1(paramForm(memberParams(members)), "an-access-key", time.Now())
	}
	return err
}

// The page's tables are what the decoder does: what must be there, what may be
// left out, and how long it may be.
func TestThePagesTablesAreTrue(t *testing.T) {
	t.Parallel()
	for _, path := range pages {
		page, _ := pageOf(t, path)
		for generation, interfaces := range page {
			for name, all := range interfaces {
				t.Run(generation+"/"+name, func(t *testing.T) {
					t.Parallel()
					require.NoError(t, decodeSample(t, generation, name, sample(name, all, "", nil)))
					for _, d := range all {
						checkMember(t, generation, name, all, d)
					}
				})
			}
		}
	}
}

func checkMember(t *testing.T, generation, activity string, all []documented, d documented) {
	t.Helper()
	refused := func(value any, reason string) {
		t.Helper()
		err := decodeSample(t, generation, activity, sample(activity, all, d.name, value))
		var invalid *directory.InvalidError
		require.ErrorAs(t, err, &invalid, "%s: %v", d.name, value)
		require.Equal(t, strings.ReplaceAll(d.name, "[]", "[0]"), invalid.Member)
		require.Contains(t, invalid.Reason, reason)
	}
	if generation == "V1" && d.name == "timeStamp" {
		return // looked at before anything is decoded: it is part of the key
	}
	if d.must != "O" {
		refused(nil, "")
	}
	if d.must == "M" && d.most > 0 {
		refused("", "empty")
	}
	if d.must == "M0" || d.must == "M+0" {
		require.NoError(t, decodeSample(t, generation, activity, sample(activity, all, d.name, "")), d.name)
	}
	if d.most > 0 && d.name != "activity" {
		refused(strings.Repeat("字", d.most+1), "longer than "+strconv.Itoa(d.most))
	}
	if strings.HasPrefix(d.must, "M+") {
		deletion := sample(activity, all, d.name, nil)
		deletion["flag"] = 0
		require.NoError(t, decodeSample(t, generation, activity, deletion), "a delete needs no %s", d.name)
	}
}

func TestThePagesAreWhole(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, kind := range directory.PushKinds() {
		kinds = append(kinds, string(kind))
	}
	source := func(name string) string {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		return string(text)
	}
	decoders := source("decode.go") + source("decodebase.go")
	read := regexp.MustCompile(`(?:f|item)\.(?:(?:text|loose|oneOf|oneOfTexts|time|utc|boolean|date|openList|merge|has)\(("\w+")|(?:details|longDetails)\(call, ("\w+"(?:, "\w+")*))`)
	codes := regexp.MustCompile(`code\w+ += "(\d{6})"`).FindAllStringSubmatch(source("verdict.go"), -1)
	v1 := regexp.MustCompile(`case ((?:"\w+"(?:, )?)+):\n\t\tcall\.Activity`).FindAllStringSubmatch(decoders, -1)
	word := regexp.MustCompile(`"(\w+)"`)
	for _, path := range pages {
		page, text := pageOf(t, path)
		require.ElementsMatch(t, kinds, slices.Collect(maps.Keys(page["kit"])))
		require.ElementsMatch(t, []string{
			string(directory.NewInstance), string(directory.QueryInstance), string(directory.RefreshInstance), string(directory.UpdateInstanceStatus),
			string(directory.ReleaseInstance), string(directory.UpgradeInstance), string(directory.GetLicense),
		}, slices.Collect(maps.Keys(page["V2"])))
		names := []string{"getLicense"} // decides its activity elsewhere
		for _, c := range v1 {
			for _, w := range word.FindAllStringSubmatch(c[1], -1) {
				names = append(names, w[1])
			}
		}
		require.ElementsMatch(t, names, slices.Collect(maps.Keys(page["V1"])))
		for _, call := range read.FindAllStringSubmatch(decoders, -1) {
			for _, w := range word.FindAllStringSubmatch(call[1]+call[2], -1) {
				require.Regexp(t, "`(\\w+\\[\\]\\.)?"+w[1]+"`", text, "%s tells of the member %s", path, w[1])
			}
		}
		shown := regexp.MustCompile(`(?m)^\| (\d{6}) \|`).FindAllStringSubmatch(text, -1)
		require.Len(t, shown, len(codes), "every result code, once")
		for _, code := range codes {
			require.Contains(t, text, "\n| "+code[1]+" | ")
		}
	}
}
