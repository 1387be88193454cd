package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// fromYAML sets what no weightier source has set. The file is one mapping
// from a setting's name to its value, or to a list where a flag may be repeated.
func (s *Settings) fromYAML(file string, text []byte) error {
	var document, more yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return malformed(file, text, err)
	}
	if len(document.Content) == 0 {
		return nil // an empty file sets nothing
	}
	switch err := in.Decode(&more); {
	case err == nil:
		return fmt.Errorf("configuration %s:%d: a second document: all settings belong into one", file, more.Line)
	case !errors.Is(err, io.EOF):
		return malformed(file, text, err)
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		return fmt.Errorf("configuration %s:%d: must be settings, one a line, as in address: :9000", file, top.Line)
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		place := fmt.Sprintf("configuration %s:%d", file, key.Line)
		f := s.lookup(key.Value)
		if f == nil {
			return fmt.Errorf("%s: there is no setting %q", place, key.Value)
		}
		if line := seen[key.Value]; line != 0 {
			return fmt.Errorf("%s: %s is already set in line %d", place, key.Value, line)
		}
		seen[key.Value] = key.Line
		values, err := scalars(value)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", place, key.Value, err)
		}
		if _, many := f.Value.(pflag.SliceValue); value.Kind == yaml.SequenceNode && !many {
			return fmt.Errorf("%s: %s: takes one value, and this is a list", place, key.Value)
		}
		if f.Changed {
			continue
		}
		for _, v := range values {
			if err := s.set(f, v, place+": "+key.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// reference is a value that YAML takes for the name of another one.
var reference = regexp.MustCompile(`(?m)(^|[\s:,\[{-])\*\S`)

// malformed is the error of a text that is no YAML. The parser's own names the value that it
// takes for a reference to another one, and that may be a password that begins with *.
func malformed(file string, text []byte, err error) error {
	if !strings.Contains(err.Error(), "unknown anchor") {
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	if at := reference.FindIndex(text); at != nil {
		file = fmt.Sprintf("%s:%d", file, 1+bytes.Count(text[:at[1]], []byte("\n")))
	}
	return fmt.Errorf("configuration %s: a value that begins with * must be in quotes", file)
}

// scalars returns a node's value, or those of a list.
func scalars(n *yaml.Node) ([]string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if err := plain(n); err != nil {
			return nil, err
		}
		return []string{n.Value}, nil
	case yaml.SequenceNode:
		var all []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: must be a plain value", item.Line)
			}
			if err := plain(item); err != nil {
				return nil, fmt.Errorf("line %d: %w", item.Line, err)
			}
			all = append(all, item.Value)
		}
		return all, nil
	}
	return nil, fmt.Errorf("must be a plain value or a list of them")
}

// plain refuses a value of which YAML would take a part for something else, and a password
// with it, and one that is none.
func plain(n *yaml.Node) error {
	switch {
	case n.Anchor != "":
		return errors.New("a value that begins with & must be in quotes")
	case n.Style&yaml.TaggedStyle != 0 && !strings.HasPrefix(n.Tag, "!!"):
		return errors.New("a value that begins with ! must be in quotes")
	case n.Tag == "!!null":
		return errors.New("has no value")
	}
	return nil
}
