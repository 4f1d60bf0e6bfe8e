package marketplace

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/openkoo/connector/directory"
)

// benchDepartments make a body of about 10 MB, as a large enterprise sends it.
const benchDepartments = 100_000

var (
	benchRegions = []string{"华东", "华南", "华北", "西南", "西北", "东北", "欧洲", "亚太"}
	benchUnits   = []string{"产品部", "软件开发部", "人力资源部", "财务管理部", "云计算与大数据部", "质量与流程IT部"}
)

// benchList writes orgInfoList with sep between its tokens.
func benchList(n int, sep string) string {
	var b strings.Builder
	b.WriteString("[" + sep)
	for i := range n {
		if i > 0 {
			b.WriteString("," + sep)
		}
		fmt.Fprintf(&b, `{"orgCode":%[1]s"%08[2]d",%[1]s"orgName":%[1]s"%[3]s%[4]s第%[2]d组",%[1]s"parentCode":%[1]s"%08[5]d"%[1]s}`,
			sep, i+1, benchRegions[i%len(benchRegions)], benchUnits[i%len(benchUnits)], (i+1)/8)
	}
	b.WriteString(sep + "]")
	return b.String()
}

// benchBodies are one push in the shapes in which it may come.
func benchBodies(n int) map[string][]byte {
	quoted := func(text string) string {
		return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`
	}
	tidy := benchList(n, "")
	body := func(format, list string) []byte { return fmt.Appendf(nil, format, list) }
	const (
		sorted   = `{"instanceId":"inst-1","orgInfoList":%s,"tenantId":"68cbc86abc2018ab880d92f36422fa0e","testFlag":0,"timeStamp":"20220413093539534"}`
		unsorted = "{\n  \"timeStamp\": \"20220413093539534\",\n  \"testFlag\": 0,\n  \"tenantId\": \"68cbc86abc2018ab880d92f36422fa0e\",\n  \"orgInfoList\": %s,\n  \"instanceId\": \"inst-1\"\n}\n"
	)
	return map[string][]byte{
		"tidy":   body(sorted, tidy),
		"untidy": body(unsorted, benchList(n, "\n    ")),
		"string": body(sorted, quoted(tidy)),
	}
}

// floor is the least that checking a body can cost: one HMAC-SHA256 over its
// bytes and one validating scan by encoding/json. json.Valid is the scan: the
// Decoder's token walk allocates for every token and would flatter us.
func floor(b *testing.B, body []byte) time.Duration {
	b.Helper()
	least := time.Duration(1<<63 - 1)
	for range 3 {
		began := time.Now()
		mac := hmac.New(sha256.New, []byte("ak-0-7f3c9e"))
		mac.Write(body)
		if mac.Sum(nil) == nil || !json.Valid(body) {
			b.Fatal("the body is not valid")
		}
		least = min(least, time.Since(began))
	}
	return least
}

// BenchmarkVerify checks the signature of a 10 MB push, canonical form and
// all. xfloor is its time by the bare floor's in the same run.
func BenchmarkVerify(b *testing.B) {
	const key, nonce, timestamp = "ak-0-7f3c9e", "50D83FDECAED6CCD0000", "1680508066618"
	for name, body := range benchBodies(benchDepartments) {
		b.Run(name, func(b *testing.B) {
			signature, err := SignKit(key, nonce, timestamp, body)
			if err != nil {
				b.Fatal(err)
			}
			bare := floor(b, body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				members, err := scanBody(textOf(body))
				if err != nil {
					b.Fatal(err)
				}
				if _, ok := verifyKit([]string{key}, stamp{nonce: nonce, signature: signature, timestamp: timestamp}, body, members); !ok {
					b.Fatal("the signature does not hold")
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(bare), "xfloor")
		})
	}
}

// BenchmarkDecode reads the same pushes into departments.
func BenchmarkDecode(b *testing.B) {
	for name, body := range benchBodies(benchDepartments) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				push, err := Decode(directory.AllOrgSync, bytes.Clone(body))
				if err != nil {
					b.Fatal(err)
				}
				if got := len(push.Payload.(*directory.FullPush).Departments); got != benchDepartments {
					b.Fatalf("%d departments", got)
				}
			}
			runtime.ReadMemStats(&after)
			n := float64(b.N) * benchDepartments
			b.ReportMetric(float64(b.Elapsed())/n, "ns/department")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, "B/department")
		})
	}
}
