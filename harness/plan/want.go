package plan

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Want is what is asked of the hardware.
type Want struct {
	Demands []Demand `json:"demands"`
	// Stored is bytes of objects, and Growth by what share of it they grow in a month.
	Stored float64 `json:"stored_bytes"`
	// StoredSize is the mean size of what is stored; 0: not stated. What is stored is
	// seldom as small as what is put and got most often, and its number decides how
	// large the index is.
	StoredSize float64 `json:"stored_object_bytes,omitempty"`
	Growth     float64 `json:"growth_per_month"`
}

// A Demand is one operation.
type Demand struct {
	Op   string  `json:"op"` // put or get
	Rate float64 `json:"per_s"`
	Size float64 `json:"size_bytes"`
	// P99 is what 99 of 100 requests must stay within; 0: no bound.
	P99 time.Duration `json:"p99_ns,omitempty"`
}

// Bounds of what is asked. They keep all arithmetic finite.
const (
	maxWant   = 4096 // bytes of text
	maxRate   = 1e12
	maxSize   = 5 << 40 // the largest object of S3
	maxStored = 1 << 70
	maxGrowth = 10
)

// Parse reads parts that are separated by semicolons: put=RATE/s,SIZE[,p99<TIME],
// get= likewise, stored=SIZE[,SIZE of an object], growth=N%/month. Sizes are as 4KiB,
// 1MB, 500TiB.
func Parse(text string) (w Want, err error) {
	if len(text) > maxWant {
		return w, fmt.Errorf("want: longer than %d bytes", maxWant)
	}
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok {
			return w, fmt.Errorf("want: %q: is not as name=value", part)
		}
		if seen[name] {
			return w, fmt.Errorf("want: %s is there twice", name)
		}
		seen[name] = true
		value = strings.TrimSpace(value)
		switch name {
		case "put", "get":
			var d Demand
			if d, err = parseDemand(name, value); err == nil {
				w.Demands = append(w.Demands, d)
			}
		case "stored":
			w.Stored, w.StoredSize, err = parseStored(value)
		case "growth":
			w.Growth, err = parseGrowth(value)
		default:
			err = errors.New("is unknown: there are put, get, stored and growth")
		}
		if err != nil {
			return w, fmt.Errorf("want: %s: %w", name, err)
		}
	}
	if len(w.Demands) == 0 && w.Stored == 0 {
		return w, errors.New("want: nothing is asked: give put=, get= or stored=, as 'put=5000/s,4KiB,p99<10ms; stored=10TiB'")
	}
	if w.Growth > 0 && w.Stored == 0 {
		return w, errors.New("want: growth: of what? give stored=")
	}
	return w, nil
}

// parseDemand reads RATE/s,SIZE[,p99<TIME].
func parseDemand(op, text string) (d Demand, err error) {
	d.Op = op
	words := strings.Split(text, ",")
	if len(words) < 2 || len(words) > 3 {
		return d, fmt.Errorf("%q: is not as 50000/s,4KiB or 50000/s,4KiB,p99<10ms", text)
	}
	if d.Rate, err = parseRate(words[0]); err != nil {
		return d, err
	}
	if d.Size, err = parseSize(words[1], maxSize); err != nil {
		return d, err
	}
	if len(words) == 3 {
		limit, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(words[2], " ", "")), "p99<")
		if !ok {
			return d, fmt.Errorf("%q: is not as p99<10ms", words[2])
		}
		if d.P99, err = time.ParseDuration(limit); err != nil || d.P99 <= 0 || d.P99 > time.Hour {
			return d, fmt.Errorf("%q: the time is none above 0 and up to an hour, as 10ms or 500us", words[2])
		}
	}
	return d, nil
}

// parseStored reads SIZE[,SIZE].
func parseStored(text string) (all, each float64, err error) {
	total, object, stated := strings.Cut(text, ",")
	if all, err = parseSize(total, maxStored); err != nil || !stated {
		return all, 0, err
	}
	if each, err = parseSize(object, maxSize); err == nil && each > all {
		err = fmt.Errorf("%q: one object is larger than all of them: give the sum first and the size of one after it, as 500TiB,1MiB", text)
	}
	return all, each, err
}

func parseRate(text string) (float64, error) {
	number, ok := strings.CutSuffix(strings.TrimSpace(text), "/s")
	v, err := parseNumber(number)
	if !ok || err != nil || v <= 0 || v > maxRate {
		return 0, fmt.Errorf("rate %q: is not as 50000/s", text)
	}
	return v, nil
}

func parseGrowth(text string) (float64, error) {
	number, ok := strings.CutSuffix(strings.ReplaceAll(text, " ", ""), "%/month")
	v, err := parseNumber(number)
	if !ok || err != nil || v < 0 || v/100 > maxGrowth {
		return 0, fmt.Errorf("%q: is not as 2%%/month, up to %d %%", text, maxGrowth*100)
	}
	return v / 100, nil
}

// units of sizes, the longer ones first.
var units = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50}, {"EiB", 1 << 60},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"EB", 1e18}, {"B", 1},
}

func parseSize(text string, most float64) (float64, error) {
	text = strings.TrimSpace(text)
	for _, u := range units {
		if len(text) <= len(u.name) || !strings.EqualFold(text[len(text)-len(u.name):], u.name) {
			continue
		}
		v, err := parseNumber(text[:len(text)-len(u.name)])
		if v *= u.size; err == nil && v >= 1 && v <= most {
			return v, nil
		}
		return 0, fmt.Errorf("size %q: not from 1 B to %g B", text, most)
	}
	return 0, fmt.Errorf("size %q: has no unit, as 4KiB, 1MB or 500TiB", text)
}

// parseNumber reads a plain decimal number.
func parseNumber(text string) (float64, error) {
	text = strings.TrimSpace(text)
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return 0, fmt.Errorf("number %q", text)
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = strconv.ErrRange
	}
	return v, err
}

// String is the want as Parse reads it.
func (w Want) String() string {
	var parts []string
	for _, d := range w.Demands {
		s := d.Op + "=" + decimal(d.Rate) + "/s," + sizeText(d.Size)
		if d.P99 > 0 {
			s += ",p99<" + d.P99.String()
		}
		parts = append(parts, s)
	}
	if w.Stored > 0 {
		s := "stored=" + sizeText(w.Stored)
		if w.StoredSize > 0 {
			s += "," + sizeText(w.StoredSize)
		}
		parts = append(parts, s)
	}
	if w.Growth > 0 {
		parts = append(parts, "growth="+decimal(math.Round(w.Growth*1e14)/1e12)+"%/month")
	}
	return strings.Join(parts, "; ")
}

// decimal prints a number without an exponent, as far as it needs.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// sizeText prints a size exactly, in the unit in which it is shortest: a size that
// was asked for as 500TiB is printed so, and one of 1.5MB too.
func sizeText(v float64) string {
	best := ""
	for _, u := range units {
		if s := decimal(v/u.size) + u.name; v >= u.size && (best == "" || len(s) < len(best)) {
			best = s
		}
	}
	return best
}

// ParseSize reads a size as a want has it, in bytes.
func ParseSize(text string) (float64, error) { return parseSize(text, maxStored) }
