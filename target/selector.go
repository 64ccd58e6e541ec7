package target

import (
	"fmt"
	"os/user"
	"regexp"
	"strconv"
	"strings"
)

// Selector says which processes are meant. The zero Selector matches nothing.
type Selector struct {
	text  string
	terms []term // all must hold
}

// String is the text that was parsed.
func (s Selector) String() string { return s.text }

// PID is the process id if the selector is one.
func (s Selector) PID() (int, bool) {
	if len(s.terms) == 1 && s.terms[0].key == keyPID {
		return s.terms[0].number, true
	}
	return 0, false
}

// Name is the process name if the selector is one.
func (s Selector) Name() (string, bool) {
	if len(s.terms) == 1 && s.terms[0].key == keyName {
		return s.terms[0].text, true
	}
	return "", false
}

type key string

const (
	keyPID       key = "pid"
	keyName      key = "name"
	keyExe       key = "exe"
	keyCmd       key = "cmd"
	keyUser      key = "user"
	keyPGID      key = "pgid"
	keyTree      key = "tree"
	keyUnit      key = "unit"
	keyCgroup    key = "cgroup"
	keyContainer key = "container"
	keyPort      key = "port"
)

// keys in the order in which help and errors list them, each with its argument.
var keys = []struct {
	key      key
	argument string
}{
	{keyPID, "N"}, {keyName, "NAME"}, {keyExe, "PATH"}, {keyCmd, "REGEX"}, {keyUser, "NAME|UID"}, {keyPGID, "N"},
	{keyTree, "PID"}, {keyUnit, "NAME"}, {keyCgroup, "PATH"}, {keyContainer, "ID"}, {keyPort, "N"},
}

// term is one condition on a process.
type term struct {
	key    key
	text   string
	number int // PID, PGID, UID or port
	regexp *regexp.Regexp
}

// ParseSelector reads what the user typed for a target: a PID, a NAME, a path
// of an image (anything with a slash), or one of
//
//	pid:N name:NAME exe:PATH cmd:REGEX user:NAME|UID pgid:N tree:PID
//	unit:NAME cgroup:PATH container:ID port:N
//
// of which several may be joined with commas: all must hold. A comma begins
// another selector only where one of these words follows it, so that names and
// expressions may hold commas.
func ParseSelector(text string) (Selector, error) {
	s := Selector{text: text}
	if strings.TrimSpace(text) == "" {
		return Selector{}, badSelector(text, "it is empty", "give a PID, a name or "+usage())
	}
	if strings.ContainsRune(text, 0) {
		return Selector{}, badSelector(text, "it holds a NUL", "remove it")
	}
	if _, _, ok := cutKey(text); !ok {
		t, err := parseBare(text)
		if err != nil {
			return Selector{}, err
		}
		s.terms = []term{t}
		return s, nil
	}
	for _, part := range splitTerms(text) {
		k, arg, _ := cutKey(part)
		t, err := parseTerm(k, arg, part)
		if err != nil {
			return Selector{}, err
		}
		s.terms = append(s.terms, t)
	}
	return s, nil
}

func badSelector(text, cause, remedy string) error {
	return &Error{Kind: ErrSelector, Cause: fmt.Sprintf("target %q: %s", text, cause), Remedy: remedy}
}

func usage() string {
	words := make([]string, len(keys))
	for i, k := range keys {
		words[i] = string(k.key) + ":" + k.argument
	}
	return strings.Join(words, " ")
}

// cutKey splits "key:argument" if key is one of keys, in any case.
func cutKey(text string) (k key, argument string, ok bool) {
	word, argument, found := strings.Cut(text, ":")
	if !found {
		return "", "", false
	}
	for _, k := range keys {
		if strings.EqualFold(word, string(k.key)) {
			return k.key, argument, true
		}
	}
	return "", "", false
}

// splitTerms cuts at the commas that a key follows.
func splitTerms(text string) []string {
	var parts []string
	start := 0
	for i := range len(text) {
		if text[i] != ',' {
			continue
		}
		if _, _, ok := cutKey(text[i+1:]); ok {
			parts = append(parts, text[start:i])
			start = i + 1
		}
	}
	return append(parts, text[start:])
}

// parseBare reads a target without a key.
func parseBare(text string) (term, error) {
	if strings.Trim(text, "0123456789") == "" {
		return parseTerm(keyPID, text, text)
	}
	if strings.HasPrefix(text, "-") && strings.Trim(text[1:], "0123456789") == "" {
		return term{}, badSelector(text, "a PID is not negative", "write pgid:N for a process group, name:"+text+" for a name")
	}
	// No image is called "word:…", so this is a misspelt key.
	if word, _, ok := strings.Cut(text, ":"); ok && len(word) > 1 && isWord(word) {
		return term{}, badSelector(text, fmt.Sprintf("no selector is called %s:", word), "there are "+usage()+"; for a process of that name write name:"+text)
	}
	if strings.ContainsRune(text, '/') {
		return parseTerm(keyExe, text, text)
	}
	return term{key: keyName, text: text}, nil
}

func isWord(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

// parseTerm reads the argument of k; whole is what errors show.
func parseTerm(k key, argument, whole string) (term, error) {
	t := term{key: k, text: argument}
	if argument == "" {
		return t, badSelector(whole, "nothing follows "+string(k)+":", "there are "+usage())
	}
	var err error
	switch k {
	case keyPID, keyPGID, keyTree:
		t.number, err = parseNumber(argument, 1<<31-1, whole, "name:"+argument+" for a process of that name")
	case keyPort:
		t.number, err = parseNumber(argument, 65535, whole, "a port number, not a service's name")
	case keyUser:
		t.number, err = parseUser(argument, whole)
	case keyCmd:
		if t.regexp, err = regexp.Compile(argument); err != nil {
			err = &Error{Kind: ErrSelector, Err: err, Cause: fmt.Sprintf("target %q: %v", whole, err),
				Remedy: "the syntax is that of Go's regexp package (RE2); put a backslash before a literal ( ) [ ] { } * + ? . | ^ $"}
		}
	case keyUnit:
		if strings.ContainsRune(argument, '/') {
			err = badSelector(whole, "a unit's name has no slash", "write cgroup:"+argument+" for a cgroup path")
		}
	case keyContainer:
		t.text, err = parseContainer(argument, whole)
	}
	return t, err
}

func parseNumber(text string, most int, whole, remedy string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil || n == 0 || n > uint64(most) {
		return 0, badSelector(whole, fmt.Sprintf("%s is not a number from 1 to %d", text, most), "write "+remedy)
	}
	return int(n), nil
}

// parseUser gives the UID of a name or a number. A name is looked up first:
// names of digits alone exist.
func parseUser(text, whole string) (int, error) {
	id := text
	if u, err := user.Lookup(text); err == nil {
		id = u.Uid
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0, badSelector(whole, fmt.Sprintf("no user %s in /etc/passwd", text), "give the user's number (id -u NAME)")
	}
	return int(n), nil
}

// parseContainer checks an id or its beginning: at least four hexadecimal
// digits, and the dashes of a Kubernetes pod's UID.
func parseContainer(text, whole string) (string, error) {
	id := strings.ToLower(text)
	if strings.Trim(id, "0123456789abcdef-") != "" {
		return "", badSelector(whole, "a container is given by its id, hexadecimal digits", "docker inspect -f '{{.Id}}' NAME, or crictl ps, shows it")
	}
	if len(id)-strings.Count(id, "-") < 4 {
		return "", badSelector(whole, "too short to mean one container", "give at least four digits of its id")
	}
	return id, nil
}
