package s3

import (
	"net/url"
	"strconv"
	"strings"
)

// maxParams bounds a query; a presigned URL with every response override has under 30.
const maxParams = 128

// A param is one name and value of a query.
type param struct{ name, value string }

// A query is a request's parameters in their order, without a map: most
// requests have none or one.
type query struct {
	params []param
	buf    [8]param
}

// parse reads a raw query. Names and values are decoded as in forms.
func (q *query) parse(raw string) error {
	q.params = q.buf[:0]
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		if len(q.params) == maxParams {
			return refuse(codeInvalidURI, "Too many query parameters.")
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := unescapeQuery(name)
		if err != nil {
			return refuse(codeInvalidURI, "")
		}
		value, err = unescapeQuery(value)
		if err != nil {
			return refuse(codeInvalidURI, "")
		}
		q.params = append(q.params, param{name: name, value: value})
	}
	return nil
}

func unescapeQuery(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, nil
	}
	return url.QueryUnescape(s)
}

// get returns the first value of a parameter, "" where it is absent.
func (q *query) get(name string) string {
	v, _ := q.lookup(name)
	return v
}

func (q *query) has(name string) bool {
	_, ok := q.lookup(name)
	return ok
}

// hasFold is has for a name in whatever case, as headers' are.
func (q *query) hasFold(name string) bool {
	for i := range q.params {
		if strings.EqualFold(q.params[i].name, name) {
			return true
		}
	}
	return false
}

func (q *query) lookup(name string) (string, bool) {
	for i := range q.params {
		if q.params[i].name == name {
			return q.params[i].value, true
		}
	}
	return "", false
}

// number reads a parameter that counts: fallback where it is absent or empty,
// refused where it is not a number of lowest or more.
func (q *query) number(name string, lowest, fallback int) (int, error) {
	v := q.get(name)
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || int(n) < lowest {
		return 0, argument(name, v, "Provided "+name+" not an integer or within integer range")
	}
	return int(n), nil
}

// page reads a page's size, at most max.
func (q *query) page(name string, max int) (int, error) {
	n, err := q.number(name, 0, max)
	return min(n, max), err
}
