package page

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	long := strings.Repeat("x", Width)
	for _, c := range []struct{ first, indent, words, want string }{
		{"", "", "", ""},
		{"a: ", "   ", "one  two\nthree", "a: one two three\n"},
		{"- ", "  ", long + " y", "- " + long[:Width-2] + "\n  xx y\n"},
		{"", " ", strings.Repeat("word ", 30), strings.TrimRight(strings.Repeat("word ", 20), " ") + "\n " + strings.TrimRight(strings.Repeat("word ", 10), " ") + "\n"},
		{"", "", "bell\a escape\x1b[2J \xff", "bell? escape?[2J ?\n"},
	} {
		var p Page
		p.Text(c.first, c.indent, c.words)
		if p.String() != c.want {
			t.Errorf("%.20q: %q, want %q", c.words, p.String(), c.want)
		}
	}
}

// TestJSON: nothing that a terminal takes for a command is in JSON, and nothing is
// lost.
func TestJSON(t *testing.T) {
	in := map[string]string{"x": "é <b> \x1b[2J \x7f \u009b31m \u202e \U000e0001 \ufffd"}
	var b bytes.Buffer
	if err := JSON(&b, in); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"x\": \"é <b> \\u001b[2J \\u007f \\u009b31m \\u202e \\udb40\\udc01 \ufffd\"\n}\n"; b.String() != want {
		t.Errorf("%s, want %s", b.String(), want)
	}
	var out map[string]string
	if err := json.Unmarshal(b.Bytes(), &out); err != nil || out["x"] != in["x"] {
		t.Errorf("%q, %v", out, err)
	}
}

func TestLine(t *testing.T) {
	var p Page
	p.Fact("Name", "")
	p.Fact("Name", "value")
	p.Section("%s  ", "part")
	p.Line("%s", strings.Repeat("é", Width+1))
	want := "Name        value\n\npart\n" + strings.Repeat("é", Width-1) + "…\n"
	if p.String() != want {
		t.Errorf("%q, want %q", p.String(), want)
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Size(0):                          "0 B",
		Size(1536):                       "1.5 KiB",
		Size(5 << 30):                    "5 GiB",
		Size(1<<64 - 1):                  "16 EiB",
		Plural(1, "thread"):              "1 thread",
		Plural(2, "thread"):              "2 threads",
		Join(", ", "", "a", "", "b"):     "a, b",
		List([]string{"a", "b"}, 2):      "a, b",
		List([]string{"a", "b", "c"}, 1): "a, … and 2 more",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
