package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// fromYAML sets what no weightier source has set. The file is one mapping
// from a setting's name to its value, or to a list where a flag may be repeated.
func (s *Settings) fromYAML(file string, text []byte) error {
	var document, more yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("configuration %s: %w", file, err)
	}
	if len(document.Content) == 0 {
		return nil // an empty file sets nothing
	}
	switch err := in.Decode(&more); {
	case err == nil:
		return fmt.Errorf("configuration %s:%d: a second document: all settings belong into one", file, more.Line)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("configuration %s: %w", file, err)
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

// scalars returns a node's value, or those of a list.
func scalars(n *yaml.Node) ([]string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil, fmt.Errorf("has no value")
		}
		return []string{n.Value}, nil
	case yaml.SequenceNode:
		var all []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: must be a plain value", item.Line)
			}
			if item.Tag == "!!null" {
				return nil, fmt.Errorf("line %d: has no value", item.Line)
			}
			all = append(all, item.Value)
		}
		return all, nil
	}
	return nil, fmt.Errorf("must be a plain value or a list of them")
}
