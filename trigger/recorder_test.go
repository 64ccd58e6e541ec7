package trigger

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"
)

func TestRecorder(t *testing.T) {
	metrics := []Metric{{Name: "cpu", Unit: "%"}, {Name: "commit", Unit: "MB"}}
	for _, n := range []int{0, 1, 59, 60, 61, 119, 120, 200} {
		r := NewRecorder(metrics)
		for i := range n {
			r.Add(at(1000*i), float64(i), float64(-i))
		}
		samples := r.Samples()
		if len(samples) != min(n, RecorderLength) {
			t.Fatalf("%d samples of %d", len(samples), n)
		}
		for i, s := range samples {
			at0 := n - len(samples) + i
			if !s.Time.Equal(at(1000*at0)) || len(s.Values) != 2 || s.Values[0] != Value(at0) || s.Values[1] != Value(-at0) {
				t.Fatalf("of %d samples number %d is %v", n, i, s)
			}
		}
	}
}

func TestRecorderMissing(t *testing.T) {
	r := NewRecorder([]Metric{{Name: "a"}, {Name: "b"}})
	for range RecorderLength {
		r.Add(at(0), 1, 2)
	}
	r.Add(at(1), 7)
	r.Add(at(2), 1, 2, 3)
	s := r.Samples()
	if got := s[58].Values; got[0] != 7 || !math.IsNaN(float64(got[1])) {
		t.Errorf("%v", got)
	}
	if got := s[59].Values; len(got) != 2 || got[1] != 2 {
		t.Errorf("%v", got)
	}
	s[59].Values[0] = 99
	if r.Samples()[59].Values[0] != 1 {
		t.Error("samples are not copies")
	}
	none := NewRecorder(nil)
	none.Add(at(0))
	if s := none.Samples(); len(s) != 1 || len(s[0].Values) != 0 {
		t.Errorf("%v", s)
	}
}

func TestRecorderJSON(t *testing.T) {
	r := NewRecorder([]Metric{
		{Name: "cpu", Unit: "%", Thresholds: []Threshold{{Metric: "cpu", Value: 90, For: 1500 * time.Millisecond}, {Metric: "cpu", Value: 5, Below: true}}},
		{Name: "threads"},
	})
	r.Add(at(0), math.NaN(), 3)
	r.Add(at(1000), 12.5, math.Inf(1))
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	first, second := r.Samples()[0].Time.Format(time.RFC3339Nano), r.Samples()[1].Time.Format(time.RFC3339Nano)
	if err := json.Unmarshal([]byte(`{"metrics": [
		{"name": "cpu", "unit": "%", "thresholds": [{"value": 90, "for_seconds": 1.5}, {"value": 5, "below": true}]},
		{"name": "threads"}],
		"samples": [{"time": "`+first+`", "values": [null, 3]}, {"time": "`+second+`", "values": [12.5, null]}]}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s", b)
	}
	var back Recording
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(b) {
		t.Errorf("%s becomes %s, %v", b, again, err)
	}
	if !math.IsNaN(float64(back.Samples[0].Values[0])) || back.Metrics[0].Thresholds[0].For != 1500*time.Millisecond {
		t.Errorf("%+v", back)
	}
	if err := json.Unmarshal([]byte(`{"value": "x"}`), &Threshold{}); err == nil {
		t.Error("a threshold of no number")
	}
	empty, err := json.Marshal(NewRecorder(nil))
	if err != nil || string(empty) != `{"metrics":[],"samples":[]}` {
		t.Errorf("%s, %v", empty, err)
	}
}

// TestRecorderFixed adds without allocating.
func TestRecorderFixed(t *testing.T) {
	r := NewRecorder([]Metric{{Name: "a"}, {Name: "b"}})
	if n := testing.AllocsPerRun(200, func() { r.Add(epoch, 1, 2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
