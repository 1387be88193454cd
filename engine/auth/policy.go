package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// maxPolicy bounds a policy's text. S3 takes forms of 20 KB before the file.
const maxPolicy = 64 << 10

// A condition is one of a POST policy's on a field.
type condition struct {
	field      string // in lower case, without the dollar sign
	startsWith bool   // otherwise it must be equal
	value      string
}

func (c condition) String() string {
	operator := "eq"
	if c.startsWith {
		operator = "starts-with"
	}
	return fmt.Sprintf("[%q, %q, %q]", operator, "$"+c.field, c.value)
}

// holds reports whether a field's value meets c; an absent field's is empty.
func (c condition) holds(value string) bool {
	if !c.startsWith {
		return value == c.value
	}
	// S3 reads a content type with commas as a list, all of which must do.
	if c.field == "content-type" && strings.Contains(value, ",") {
		for one := range strings.SplitSeq(value, ",") {
			if !strings.HasPrefix(strings.TrimSpace(one), c.value) {
				return false
			}
		}
		return true
	}
	return strings.HasPrefix(value, c.value)
}

// parsePolicy reads the base64 of a JSON document:
//
//	{"expiration": "2006-01-02T15:04:05Z", "conditions": [
//	  {"field": "value"}, ["eq", "$field", "value"], ["starts-with", "$field", "prefix"],
//	  ["content-length-range", 1, 1048576]]}
func parsePolicy(text string) (*policy, error) {
	if len(text) > maxPolicy {
		return nil, errors.New("it is too long")
	}
	document, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	var parsed struct {
		Expiration *string           `json:"expiration"`
		Conditions []json.RawMessage `json:"conditions"`
	}
	if err := unmarshalOne(document, &parsed); err != nil {
		return nil, errors.New("it is not a JSON object with expiration and conditions")
	}
	if parsed.Expiration == nil || parsed.Conditions == nil {
		return nil, errors.New("it needs expiration and conditions")
	}
	p := &policy{maxLength: -1}
	if p.expiration, err = time.Parse(time.RFC3339, *parsed.Expiration); err != nil {
		return nil, errors.New("its expiration is not a time in ISO 8601")
	}
	for _, raw := range parsed.Conditions {
		if err := p.add(raw); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// unmarshalOne takes one JSON value with known names and nothing after it.
func unmarshalOne(document []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("text after the end")
	}
	return nil
}

func (p *policy) add(raw json.RawMessage) error {
	if bytes.HasPrefix(raw, []byte("{")) {
		var equal map[string]string
		if err := json.Unmarshal(raw, &equal); err != nil {
			return errors.New("a condition in braces must be {\"field\": \"value\"}")
		}
		for field, value := range equal {
			p.conditions = append(p.conditions, condition{field: strings.ToLower(field), value: value})
		}
		return nil
	}
	var parts []any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&parts); err != nil || len(parts) != 3 {
		return errors.New("a condition in brackets must have three parts")
	}
	operator, _ := parts[0].(string)
	if strings.EqualFold(operator, "content-length-range") {
		return p.addRange(parts[1], parts[2])
	}
	field, ok := parts[1].(string)
	value, ok2 := parts[2].(string)
	name, ok3 := strings.CutPrefix(field, "$")
	if !ok || !ok2 || !ok3 || name == "" {
		return errors.New("a condition must name its field as \"$field\" and give a string")
	}
	c := condition{field: strings.ToLower(name), value: value}
	switch {
	case strings.EqualFold(operator, "eq"):
	case strings.EqualFold(operator, "starts-with"):
		c.startsWith = true
	default:
		return errors.New("a condition must be eq, starts-with or content-length-range")
	}
	p.conditions = append(p.conditions, c)
	return nil
}

// addRange narrows the bounds: every range given must hold.
func (p *policy) addRange(low, high any) error {
	least, ok := length(low)
	most, ok2 := length(high)
	if !ok || !ok2 || least > most {
		return errors.New("content-length-range must have a least and a greatest number of bytes")
	}
	p.minLength = max(p.minLength, least)
	if p.maxLength < 0 || most < p.maxLength {
		p.maxLength = most
	}
	return nil
}

// length takes a number, or one in a string as some clients write it.
func length(v any) (int64, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= 0
}
