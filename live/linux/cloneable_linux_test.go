package linux

import "testing"

func TestTellsRseq(t *testing.T) {
	for release, want := range map[string]bool{"4.18.0-553.el8": false, "5.9.1": false, "5.12.19-arch": false, "5.13.0": true, "5.15.0-91-generic": true,
		"6.1.0": true, "10.0-rc1": true, "": false, "x": false} {
		if got := tellsRseq(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
