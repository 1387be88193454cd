package record

import "time"

// A Timeline says what clients saw while something was done to a server.
type Timeline struct {
	Step   time.Duration `json:"step_ns"` // between points
	Points []Point       `json:"points"`
	Marks  []Mark        `json:"marks"`
}

// A Point is one step of a timeline. Latencies are of the operations answered
// in it, from when each was due; 0 where none was.
type Point struct {
	At       time.Duration `json:"at_ns"` // its beginning, from the record's first
	Answered int64         `json:"answered"`
	Refused  int64         `json:"refused"`  // by an answer that says that nothing was done
	InDoubt  int64         `json:"in_doubt"` // no answer, or one that leaves open what was done
	P50US    float64       `json:"p50_us"`
	P99US    float64       `json:"p99_us"`
	MaxUS    float64       `json:"max_us"`
}

// A Mark is something that was done, or seen, at a time.
type Mark struct {
	At    time.Duration `json:"at_ns"`
	Fault string        `json:"fault,omitempty"`
	Phase string        `json:"phase"` // inject, bites, recover, healthy, verify
	Note  string        `json:"note,omitempty"`
}
