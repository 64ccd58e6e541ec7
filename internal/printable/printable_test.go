package printable

import "testing"

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"nginx: worker (größer) 你": "nginx: worker (größer) 你",
		"a\tb\nc\rd\x00e":          "a?b?c?d?e",
		"\x1b[2J\x7f\u009b1m":      "?[2J??1m",
		"user\u202egpj.exe\u200b":  "user?gpj.exe?",
		"cut \xff\xe4\xbd":         "cut ???",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
