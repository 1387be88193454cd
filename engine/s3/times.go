package s3

import (
	"net/http"
	"time"

	"github.com/cairnstore/cairn/engine/internal/httpdate"
)

const (
	days   = "SunMonTueWedThuFriSat"
	months = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

func append2(b []byte, n int) []byte { return append(b, byte('0'+n/10%10), byte('0'+n%10)) }

func append4(b []byte, n int) []byte { return append2(append2(b, n/100), n%100) }

// httpTime is t as RFC 9110, section 5.6.7, has it. time.Format costs three
// times as much, and every GET has one.
func httpTime(t time.Time) string {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.Format(http.TimeFormat)
	}
	hour, minute, second := t.Clock()
	var buf [len(http.TimeFormat)]byte
	b := append(buf[:0], days[3*t.Weekday():3*t.Weekday()+3]...)
	b = append(b, ", "...)
	b = append2(b, day)
	b = append(b, ' ')
	b = append(b, months[3*(month-1):3*month]...)
	b = append(b, ' ')
	b = append4(b, year)
	b = append(b, ' ')
	b = append2(b, hour)
	b = append(b, ':')
	b = append2(b, minute)
	b = append(b, ':')
	b = append2(b, second)
	b = append(b, " GMT"...)
	return string(b)
}

// appendISOTime appends t as S3's XML has it: 2006-01-02T15:04:05.000Z.
func appendISOTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(b, "2006-01-02T15:04:05.000Z")
	}
	hour, minute, second := t.Clock()
	ms := t.Nanosecond() / int(time.Millisecond)
	b = append4(b, year)
	b = append(b, '-')
	b = append2(b, int(month))
	b = append(b, '-')
	b = append2(b, day)
	b = append(b, 'T')
	b = append2(b, hour)
	b = append(b, ':')
	b = append2(b, minute)
	b = append(b, ':')
	b = append2(b, second)
	b = append(b, '.', byte('0'+ms/100))
	b = append2(b, ms%100)
	return append(b, 'Z')
}

// parseTime reads a condition's date. One that cannot be read is no condition
// (RFC 9110, section 13.1.3).
func parseTime(s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	if t, err := httpdate.Parse(s); err == nil {
		return t
	}
	// SDKs of some languages send ISO 8601.
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t
	}
	return time.Time{}
}
