package scenario

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bytes is a size: 4096, 4KiB, 5MiB, 1GiB, or in powers of ten 4kB, 5MB, 1GB.
type Bytes int64

// maxBytes is S3's largest object.
const maxBytes = 5 << 40

var units = []struct {
	name   string
	factor float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

func parseBytes(text string) (Bytes, error) {
	number, factor := text, 1.
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.name); ok {
			number, factor = strings.TrimSpace(n), u.factor
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || v*factor > maxBytes {
		return 0, fmt.Errorf("size %.40q: want a number of bytes up to 5TiB, as 4096, 4KiB or 1.5MB", text)
	}
	return Bytes(math.Round(v * factor)), nil
}

// UnmarshalYAML reads a size.
func (b *Bytes) UnmarshalYAML(node *yaml.Node) (err error) {
	*b, err = parseBytes(node.Value)
	return at(node, scalarOnly(node, err))
}

// Duration is a time: 500ms, 10s, 2m, up to a day.
type Duration time.Duration

func parseDuration(text string) (Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 24*time.Hour {
		return 0, fmt.Errorf("time %.40q: want something from 0s to 24h, as 500ms or 1m30s", text)
	}
	return Duration(d), nil
}

// UnmarshalYAML reads a time.
func (d *Duration) UnmarshalYAML(node *yaml.Node) (err error) {
	*d, err = parseDuration(node.Value)
	return at(node, scalarOnly(node, err))
}

// scalarOnly is an error for what is a list or a map.
func scalarOnly(node *yaml.Node, err error) error {
	if node.Kind != yaml.ScalarNode {
		return fmt.Errorf("want one value, got a list or a map")
	}
	return err
}

// at says where in the file an error is.
func at(node *yaml.Node, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("line %d: %w", node.Line, err)
}
