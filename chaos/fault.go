package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// A Fault is one thing that is done to a server, as a contract. Run calls, in
// this order: SetUp, Inject, Bites until it says what was seen, Recover; waits
// until the server is healthy; CleanUp, whatever happened. A value is used once.
type Fault interface {
	// SetUp notes what is to be compared with later.
	SetUp(context.Context, *Stage) error
	Inject(context.Context, *Stage) error
	// Bites says what of the fault is seen, in words for a person; "" while
	// nothing is. An error ends the experiment: what is seen must not be.
	Bites(context.Context, *Stage) (string, error)
	Recover(context.Context, *Stage) error
	// CleanUp leaves nothing of the fault behind; also after a failure.
	CleanUp(context.Context, *Stage) error
}

// A kind of fault.
type kind struct {
	what  string // in a sentence
	needs string // of a plan or the machine; ""
	make  func() Fault
	// lacks says what of the plan is missing for it; nil: nothing can be.
	lacks func(*Plan) string
}

func (k *kind) missing(p *Plan) string {
	if k.lacks == nil {
		return ""
	}
	return k.lacks(p)
}

// with makes a fault with the settings of a step. Those that it does not have
// are an error.
func (k *kind) with(settings *yaml.Node) (Fault, error) {
	f := k.make()
	if settings.Kind != 0 {
		text, err := yaml.Marshal(settings)
		if err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
		d := yaml.NewDecoder(bytes.NewReader(text))
		d.KnownFields(true)
		if err := d.Decode(f); err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
	}
	if v, ok := f.(interface{ validate() error }); ok {
		if err := v.validate(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// faults are all there are, by name.
var faults = map[string]*kind{}

func init() {
	for _, of := range []map[string]*kind{processFaults, volumeFaults, networkFaults, clockFaults} {
		maps.Copy(faults, of)
	}
}

// A Description is what a list of faults says of one.
type Description struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Needs string `json:"needs,omitempty"`
}

// Describe lists the faults, by name.
func Describe() (all []Description) {
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		all = append(all, Description{name, faults[name].what, faults[name].needs})
	}
	return all
}

// needsFuse is the lack of faults on the FUSE volume.
func needsFuse(p *Plan) string {
	if p.Volume.Kind != Fuse {
		return "a volume of the kind fuse"
	}
	return ""
}

var errNotASetting = errors.New("a setting is out of its range")

// quiet is the part of a contract that many faults have nothing to do in.
type quiet struct{}

func (quiet) SetUp(context.Context, *Stage) error   { return nil }
func (quiet) CleanUp(context.Context, *Stage) error { return nil }
