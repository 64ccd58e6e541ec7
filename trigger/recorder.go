package trigger

import (
	"encoding/json"
	"math"
	"time"
)

// RecorderLength is the number of samples that a Recorder keeps.
const RecorderLength = 60

// Metric describes a column of a Recorder.
type Metric struct {
	Name       string      `json:"name"`
	Unit       string      `json:"unit,omitempty"`
	Thresholds []Threshold `json:"thresholds,omitempty"`
}

// Recorder is the flight recorder of a process: it keeps the last samples of
// every watched metric, so that a dump can say what led to it. Its memory is
// fixed: 8 bytes per sample and 8 per value.
type Recorder struct {
	metrics []Metric
	times   [RecorderLength]int64 // Unix time, ns
	values  []float64             // a row of len(metrics) for every time
	next    int                   // where the next sample goes
	n       int                   // samples there are
}

// NewRecorder makes a Recorder with a column for each metric. It keeps the
// slice, which many Recorders may share.
func NewRecorder(metrics []Metric) *Recorder {
	return &Recorder{metrics: metrics, values: make([]float64, RecorderLength*len(metrics))}
}

// Add keeps the values of the time now, one for each metric; NaN for a metric
// without a value. Missing values are NaN too. The oldest sample makes room.
func (r *Recorder) Add(now time.Time, values ...float64) {
	r.times[r.next] = now.UnixNano()
	row := r.values[r.next*len(r.metrics):][:len(r.metrics)]
	for i := copy(row, values); i < len(row); i++ {
		row[i] = math.NaN()
	}
	r.next = (r.next + 1) % RecorderLength
	r.n = min(r.n+1, RecorderLength)
}

// Sample is a row of a Recorder.
type Sample struct {
	Time   time.Time `json:"time"`
	Values []Value   `json:"values"` // one for each metric
}

// Value is a number that is null in JSON if it is not finite.
type Value float64

// MarshalJSON writes the number, or null.
func (v Value) MarshalJSON() ([]byte, error) {
	if f := float64(v); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return json.Marshal(f)
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads a number; null is NaN.
func (v *Value) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*v = Value(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(v))
}

// Samples returns copies of the samples, oldest first.
func (r *Recorder) Samples() []Sample {
	samples := make([]Sample, r.n)
	for i := range samples {
		at := (r.next - r.n + i + RecorderLength) % RecorderLength
		samples[i].Time = time.Unix(0, r.times[at])
		samples[i].Values = make([]Value, len(r.metrics))
		for j := range r.metrics {
			samples[i].Values[j] = Value(r.values[at*len(r.metrics)+j])
		}
	}
	return samples
}

// Recording is what a Recorder holds, in the form that goes into a dump.
type Recording struct {
	Metrics []Metric `json:"metrics"`
	Samples []Sample `json:"samples"` // oldest first
}

// Recording returns a copy of all that is recorded.
func (r *Recorder) Recording() Recording {
	return Recording{Metrics: append([]Metric{}, r.metrics...), Samples: r.Samples()}
}

// MarshalJSON writes the Recording.
func (r *Recorder) MarshalJSON() ([]byte, error) { return json.Marshal(r.Recording()) }

// thresholdJSON is a Threshold in JSON. The metric's name stands beside it.
type thresholdJSON struct {
	Value      Value   `json:"value"`
	Below      bool    `json:"below,omitempty"`
	ForSeconds float64 `json:"for_seconds,omitempty"`
}

// MarshalJSON writes the threshold without its metric.
func (t Threshold) MarshalJSON() ([]byte, error) {
	return json.Marshal(thresholdJSON{Value(t.Value), t.Below, t.For.Seconds()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Threshold) UnmarshalJSON(b []byte) error {
	var j thresholdJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*t = Threshold{Metric: t.Metric, Value: float64(j.Value), Below: j.Below,
		For: time.Duration(math.Round(j.ForSeconds * float64(time.Second)))}
	return nil
}
