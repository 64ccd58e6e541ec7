package spelling

import (
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "xabc", 1},
		{"kitten", "sitting", 3}, {strings.Repeat("a", 1000), "a", 1000},
	} {
		if n := Distance(c.a, c.b); n != c.want {
			t.Errorf("%.10q, %.10q: %d, want %d", c.a, c.b, n, c.want)
		}
		if n := Distance(c.b, c.a); n != c.want {
			t.Errorf("%.10q, %.10q: %d, want %d", c.b, c.a, n, c.want)
		}
	}
}
