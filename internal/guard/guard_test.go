package guard

import (
	"errors"
	"testing"
)

func TestDo(t *testing.T) {
	broken := errors.New("broken")
	for _, want := range []error{nil, broken} {
		if err := Do("read", func() error { return want }); err != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
	var none []int
	err := Do("read it", func() error { none[1]++; return nil })
	if err == nil || err.Error() != "read it: runtime error: index out of range [1] with length 0" {
		t.Errorf("%v", err)
	}
}
