package snapshot

import "time"

// Samples is a value that was watched before the dump, as it went: the flight
// recorder of a trigger.
type Samples struct {
	Name  string  `json:"name"`           // "CPU"
	Unit  string  `json:"unit,omitempty"` // "%", "bytes"
	Limit float64 `json:"limit"`          // the trigger's
	Below bool    `json:"below,omitempty"`
	// Points are in the order of time, the last one next to the dump.
	Points []Sample `json:"points"`
}

// Sample is one look at a value.
type Sample struct {
	Time  time.Time `json:"time"`
	Value float64   `json:"value"`
}
