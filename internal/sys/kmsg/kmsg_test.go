package kmsg

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWrite(t *testing.T) {
	for text, want := range map[string]string{
		"all is well":                      "<30>procdump: all is well\n",
		strings.Repeat("ä", 1000):          "<30>procdump: " + strings.Repeat("ä", maxText/2) + "\n",
		"x" + strings.Repeat("ä", maxText): "<30>procdump: x" + strings.Repeat("ä", maxText/2-1) + "\n", // cut in the middle of a letter
	} {
		var b bytes.Buffer
		if err := Write(&b, Info, text); err != nil || b.String() != want || !utf8.Valid(b.Bytes()) {
			t.Errorf("%q, %v; want %q", b.String(), err, want)
		}
	}
}
