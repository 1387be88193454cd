package httpdate_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/internal/httpdate"
)

func TestParse(t *testing.T) {
	want := time.Date(2026, 11, 5, 7, 8, 9, 0, time.UTC)
	for _, s := range []string{
		"Thu, 05 Nov 2026 07:08:09 GMT",
		"Thu, 5 Nov 2026 07:08:09 GMT",
		"Thursday, 05-Nov-26 07:08:09 GMT",
		"Thu Nov  5 07:08:09 2026",
	} {
		got, err := httpdate.Parse(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "yesterday", "Thu, 5 Nov 2026 07:08:09", "Thu, 5 Nov 2026 07:08:09 CET", "Thu, 32 Nov 2026 07:08:09 GMT", "2026-11-05T07:08:09Z"} {
		_, err := httpdate.Parse(s)
		require.Error(t, err, s)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Thu, 5 Nov 2026 07:08:09 GMT")
	f.Add("Thursday, 05-Nov-26 07:08:09 GMT")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := httpdate.Parse(s)
		if err != nil {
			require.True(t, got.IsZero())
			return
		}
		if y := got.Year(); y < 0 || y > 9999 {
			return
		}
		again, err := httpdate.Parse(got.Format(http.TimeFormat))
		require.NoError(t, err)
		require.True(t, got.Truncate(time.Second).Equal(again))
	})
}
