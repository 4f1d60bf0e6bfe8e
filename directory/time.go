package directory

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SourceTime is when the marketplace made a push: its timeStamp, in UNIX
// milliseconds. Zero means never. It orders the pushes of a scope whatever
// order they arrive in.
type SourceTime int64

// China is the zone of the kit's timeStamp: UTC+8, no daylight saving
// (spec/marketplace.md §3).
var China = time.FixedZone("UTC+8", 8*60*60)

const sourceLayout = "20060102150405.000"

// ParseSourceTime reads yyyyMMddHHmmssSSS in the given zone.
func ParseSourceTime(text string, zone *time.Location) (SourceTime, error) {
	if len(text) != 17 {
		return 0, fmt.Errorf("want 17 digits yyyyMMddHHmmssSSS, got %d characters", len(text))
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("want 17 digits yyyyMMddHHmmssSSS, got %q", text)
		}
	}
	t, err := time.ParseInLocation(sourceLayout, text[:14]+"."+text[14:], zone)
	if err != nil {
		return 0, fmt.Errorf("%q is no date: want yyyyMMddHHmmssSSS", text)
	}
	if year := t.UTC().Year(); year < 1970 || year > 9999 {
		return 0, fmt.Errorf("%q is in the year %d; want 1970 to 9999", text, year)
	}
	return SourceTime(t.UnixMilli()), nil
}

// SourceTimeOf is the source time of t.
func SourceTimeOf(t time.Time) SourceTime { return SourceTime(t.UnixMilli()) }

// Time is the moment t names, in UTC.
func (t SourceTime) Time() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Wire writes t as the kit does: yyyyMMddHHmmssSSS in UTC+8.
func (t SourceTime) Wire() string { return t.wire(China) }

// WireUTC writes t as V1's base interface does: yyyyMMddHHmmssSSS in UTC.
func (t SourceTime) WireUTC() string { return t.wire(time.UTC) }

func (t SourceTime) wire(zone *time.Location) string {
	text := t.Time().In(zone).Format(sourceLayout)
	return text[:14] + text[15:]
}

// MarshalJSON writes RFC 3339, or null for never.
func (t SourceTime) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	return []byte(`"` + t.Time().Format("2006-01-02T15:04:05.000Z07:00") + `"`), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *SourceTime) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*t = 0
		return nil
	}
	// The year apart: time.Time writes those that time.Parse does not read.
	year, rest, ok := cutYear(strings.Trim(string(text), `"`))
	if !ok {
		return fmt.Errorf("source time: %s is no moment", text)
	}
	at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", "2000"+rest) // a leap year
	if err != nil {
		return fmt.Errorf("source time: %w", err)
	}
	at = at.UTC()
	*t = SourceTimeOf(time.Date(year, at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC))
	return nil
}

// cutYear splits what MarshalJSON wrote behind its year, which may be negative
// and of more than four digits.
func cutYear(text string) (year int, rest string, ok bool) {
	if len(text) < 5 {
		return 0, "", false
	}
	end := strings.IndexByte(text[1:], '-') + 1
	year, err := strconv.Atoi(text[:end])
	return year, text[end:], err == nil
}
