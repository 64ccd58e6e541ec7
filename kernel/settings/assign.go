package settings

import (
	"sort"
	"strings"

	"procdump/internal/spelling"
)

// setting is what a word on the command line or in the file names.
type setting struct {
	name string
	keys []string // of ours, that it sets
	get  func(s *Settings) string
	set  func(s *Settings, v string) *Error
}

// lookup finds a setting by its name or by Windows' name, in any case, with or
// without _ and -.
func lookup(word string) (setting, *Error) {
	plain := plainName(word)
	for _, k := range keys {
		if plainName(k.Name) == plain {
			return setting{k.Name, []string{k.Name}, k.text, k.set}, nil
		}
	}
	for _, w := range windowsValues {
		if plainName(w.name) == plain {
			return w, nil
		}
	}
	for name, remedy := range windowsElsewhere {
		if plainName(name) == plain {
			return setting{}, wrong(word, remedy, "this setting of Windows is none here")
		}
	}
	return setting{}, unknown(word)
}

// plainName is a name without what people vary.
func plainName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(strings.TrimSpace(s)))
}

// unknown is the error for a name that is none, with what was probably meant.
func unknown(word string) *Error {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	remedy := "choose " + strings.Join(names, ", ")
	for _, w := range windowsValues {
		names = append(names, w.name)
	}
	plain := plainName(word)
	sort.SliceStable(names, func(i, j int) bool {
		return spelling.Distance(plain, plainName(names[i])) < spelling.Distance(plain, plainName(names[j]))
	})
	// A guess that changes half of the letters is none.
	if best := names[0]; 2*spelling.Distance(plain, plainName(best)) <= max(len(plain), len(plainName(best))) {
		remedy = "did you mean " + best + "?"
	}
	return wrong(word, remedy, "unknown setting")
}

// Get returns the value that a key, or a value of Windows, has in s. Its error
// is an *Error.
func (s Settings) Get(name string) (string, error) {
	k, err := lookup(name)
	if err != nil {
		return "", err
	}
	return k.get(&s), nil
}

// KeysOf returns the names of the keys that a name, perhaps one of Windows',
// stands for. Its error is an *Error.
func KeysOf(name string) ([]string, error) {
	k, err := lookup(name)
	if err != nil {
		return nil, err
	}
	return k.keys, nil
}

// Set takes one "KEY=VALUE". See SetAll.
func (s *Settings) Set(assignment string) error { return s.SetAll([]string{assignment}) }

// SetAll takes "KEY=VALUE" words, all or, with an *Error, none of them. They
// count as one change: FilterPages=1 may stand before CrashDumpEnabled=1.
func (s *Settings) SetAll(assignments []string) error {
	var list []assignment
	for _, word := range assignments {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return wrong(word, "write "+strings.TrimSpace(word)+"=VALUE", "no value")
		}
		list = append(list, assignment{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	next := *s
	if _, err := next.assign(list); err != nil {
		return err
	}
	if err := next.check(); err != nil {
		return err
	}
	*s = next
	return nil
}

// assignment is a name and the value that it is to have.
type assignment struct{ name, value string }

// assign applies all of list. With its error it returns which of them it is
// about.
func (s *Settings) assign(list []assignment) (index int, e *Error) {
	given := map[string]string{}
	var late []int
	for i, a := range list {
		k, err := lookup(a.name)
		if err != nil {
			return i, err
		}
		if k.name == "FilterPages" {
			late = append(late, i) // it changes what CrashDumpEnabled says
			continue
		}
		for _, key := range k.keys {
			other, ok := given[key]
			switch {
			case ok && plainName(other) == plainName(a.name):
				return i, wrong(a.name, "give it once", "it is given twice")
			case ok:
				return i, wrong(a.name, "give one of the two", "%s sets the same", other)
			}
			given[key] = a.name
		}
		if err := k.set(s, a.value); err != nil {
			return i, err
		}
	}
	if len(late) > 1 {
		return late[1], wrong("FilterPages", "give it once", "it is given twice")
	}
	for _, i := range late {
		if err := setFilterPages(s, list[i].value); err != nil {
			return i, err
		}
	}
	return 0, nil
}
