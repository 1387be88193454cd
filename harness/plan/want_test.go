package plan

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	w, err := Parse("put=50000/s,4KiB,p99<10ms; get=200000/s, 4kib ; stored=500TiB; growth=2%/month;")
	require.NoError(t, err)
	require.Equal(t, Want{
		Demands: []Demand{{"put", 50000, 4096, 10 * time.Millisecond}, {"get", 200000, 4096, 0}},
		Stored:  500 * (1 << 40), Growth: .02,
	}, w)
	w, err = Parse("stored=500TiB, 1MiB")
	require.NoError(t, err)
	require.Equal(t, Want{Stored: 500 * (1 << 40), StoredSize: 1 << 20}, w)
	w, err = Parse("GET=1.5e3/s,1.5MB,P99 < 500us")
	require.NoError(t, err)
	require.Equal(t, []Demand{{"get", 1500, 1.5e6, 500 * time.Microsecond}}, w.Demands)

	for text, want := range map[string]string{
		"":                              "nothing is asked",
		"put":                           "is not as name=value",
		"pull=1/s,1B":                   "unknown",
		"put=1/s":                       "is not as 50000/s,4KiB",
		"put=1,4KiB":                    "is not as 50000/s",
		"put=-1/s,4KiB":                 "is not as 50000/s",
		"put=0x10/s,4KiB":               "is not as 50000/s",
		"put=nan/s,4KiB":                "is not as 50000/s",
		"put=1/s,4":                     "has no unit",
		"put=1/s,0B":                    "not from 1 B",
		"put=1/s,6TiB":                  "not from 1 B",
		"put=1/s,4KiB,p90<1ms":          "is not as p99<10ms",
		"put=1/s,4KiB,p99<1":            "the time",
		"put=1/s,4KiB,p99<0s":           "the time",
		"put=1/s,1B; put=2/s,1B":        "twice",
		"put=1/s,1B;growth=1%/month":    "of what",
		"stored=1TiB; growth=2%":        "2%/month",
		"stored=9e99TiB":                "not from 1 B",
		"stored=1TiB,2":                 "has no unit",
		"stored=1TiB,6TiB":              "not from 1 B",
		"stored=1KiB,1MiB":              "larger than all of them",
		"stored=1TiB,1MiB,1KiB":         "not from 1 B",
		strings.Repeat(";", 5000):       "longer",
		"stored=1TiB;growth=1e9%/month": "up to",
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, want, text)
	}
}

// What was asked for is printed as a person would write it.
func TestAWantIsPrintedAsItIsAsked(t *testing.T) {
	for _, text := range []string{
		"put=50000/s,4KiB,p99<10ms; get=200000/s,1.5MB; stored=500TiB,1MiB; growth=2%/month", "put=1000000/s,1B", "stored=16TB", "stored=1EiB", "get=0.5/s,307B", "stored=1.5MiB; growth=0.1%/month",
	} {
		require.Equal(t, text, mustParse(t, text).String())
	}
	require.Equal(t, "put=1/s,4KiB; stored=1PiB,1MiB", mustParse(t, "put=1/s,4096B; stored=1024TiB,1048576B").String())
}

// FuzzParse: no text makes it panic, and what it understood comes back from
// what it prints.
func FuzzParse(f *testing.F) {
	f.Add("put=50000/s,4KiB,p99<10ms; get=200000/s,4KiB; stored=500TiB; growth=2%/month")
	f.Add("get=1/s,1.1B; stored=7e20B,5TiB; growth=1e-9%/month")
	f.Add("put=1e3/s,1B;=;%")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(w.String())
		require.NoError(t, err, w.String())
		require.Equal(t, len(w.Demands), len(again.Demands))
		require.InEpsilon(t, w.Stored+1, again.Stored+1, 1e-9)
		require.InEpsilon(t, w.StoredSize+1, again.StoredSize+1, 1e-9)
		require.InDelta(t, w.Growth, again.Growth, 1e-9)
	})
}
