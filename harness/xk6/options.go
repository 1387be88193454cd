package xk6

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// decodeOptions reads an object of options; a field that to lacks is an error.
func decodeOptions(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	return nil
}
