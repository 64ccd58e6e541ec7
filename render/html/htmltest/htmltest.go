// Package htmltest looks at pages of the package html for tests.
package htmltest

import (
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
)

// element is a part of a page.
type element struct {
	name     string // with its id and classes
	children []string
}

// Skeleton is the structure of a page: its elements with their ids and classes,
// indented, and the text of headings. Of neighbours that are alike there is one.
// It fails where elements are not closed in order, and if there is not one style
// and one script.
func Skeleton(t testing.TB, page string) string {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(plain(t, page)))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	open := []*element{{}}
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("it is not well formed: %v", err)
		}
		top := open[len(open)-1]
		switch x := token.(type) {
		case xml.StartElement:
			e := &element{name: x.Name.Local}
			for _, a := range x.Attr {
				switch a.Name.Local {
				case "id":
					e.name += "#" + a.Value
				case "class":
					e.name += "." + strings.Join(strings.Fields(a.Value), ".")
				case "hidden", "open":
					e.name += " " + a.Name.Local
				}
			}
			open = append(open, e)
		case xml.CharData:
			if text := strings.TrimSpace(string(x)); text != "" && slices.Contains([]string{"h1", "h2", "h3", "th"}, top.name) {
				top.name += ": " + text
			}
		case xml.EndElement:
			if len(open) == 1 {
				t.Fatalf("</%s> closes nothing", x.Name.Local)
			}
			open = open[:len(open)-1]
			parent := open[len(open)-1]
			s := top.name + "\n"
			for _, c := range top.children {
				s += "  " + strings.ReplaceAll(strings.TrimSuffix(c, "\n"), "\n", "\n  ") + "\n"
			}
			if n := len(parent.children); n == 0 || parent.children[n-1] != s {
				parent.children = append(parent.children, s)
			}
		}
	}
	if len(open) != 1 {
		t.Fatalf("%s is not closed", open[len(open)-1].name)
	}
	return strings.Join(open[0].children, "")
}

// plain is a page without the content of its style and script.
func plain(t testing.TB, page string) string {
	t.Helper()
	for _, name := range []string{"style", "script"} {
		before, rest, ok := strings.Cut(page, "<"+name+">")
		content, after, ok2 := strings.Cut(rest, "</"+name+">")
		if !ok || !ok2 || len(content) < 1000 || strings.Contains(after, "<"+name) {
			t.Fatalf("not one <%s>", name)
		}
		page = before + "<" + name + "></" + name + ">" + after
	}
	return page
}
