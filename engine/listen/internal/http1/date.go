package http1

import (
	"net/http"
	"sync/atomic"
	"time"
)

// A date is a second's Date field.
type date struct {
	second int64
	text   []byte
}

var lastDate atomic.Pointer[date]

// appendDate appends now's Date field, which is made once a second.
func appendDate(b []byte, now time.Time) []byte {
	d := lastDate.Load()
	if second := now.Unix(); d == nil || d.second != second {
		d = &date{second, now.UTC().AppendFormat([]byte("Date: "), http.TimeFormat+"\r\n")}
		lastDate.Store(d)
	}
	return append(b, d.text...)
}
