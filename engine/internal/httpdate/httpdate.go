// Package httpdate reads the dates that clients send.
package httpdate

import (
	"net/http"
	"time"
)

// shortDay is HTTP's own form but for the day, which has one digit or two: Java's
// RFC_1123_DATE_TIME does not fill it up, and the SDK for Java sends what that makes.
const shortDay = "Mon, 2 Jan 2006 15:04:05 GMT"

// Parse reads a date in one of HTTP's three forms (RFC 9110, section 5.6.7), the first
// of them also with a day of one digit. It is in UTC.
func Parse(s string) (time.Time, error) {
	t, err := http.ParseTime(s)
	if err == nil {
		return t.UTC(), nil
	}
	if t, short := time.Parse(shortDay, s); short == nil {
		return t, nil
	}
	return time.Time{}, err
}
