package target

import (
	"errors"
	"os/user"
	"regexp/syntax"
	"strings"
	"testing"
)

func TestParseSelector(t *testing.T) {
	root := 0
	for _, tt := range []struct {
		text   string
		key    key
		arg    string
		number int
		terms  int
	}{
		{"4711", keyPID, "4711", 4711, 1},
		{"pid:7", keyPID, "7", 7, 1},
		{"nginx", keyName, "nginx", 0, 1},
		{"123abc", keyName, "123abc", 0, 1},
		{"name:123", keyName, "123", 0, 1},
		{"NAME:nginx", keyName, "nginx", 0, 1},
		{"a,b", keyName, "a,b", 0, 1},
		{"my app", keyName, "my app", 0, 1},
		{"kworker-0:1", keyName, "kworker-0:1", 0, 1},
		{"/usr/bin/x", keyExe, "/usr/bin/x", 0, 1},
		{"./x", keyExe, "./x", 0, 1},
		{"exe:/usr/bin/x", keyExe, "/usr/bin/x", 0, 1},
		{"cmd:a{1,2},b", keyCmd, "a{1,2},b", 0, 1},
		{"cmd:a{1,2},user:0", keyCmd, "a{1,2}", 0, 2},
		{"user:root", keyUser, "root", root, 1},
		{"user:4294967294", keyUser, "4294967294", 4294967294, 1},
		{"pgid:12", keyPGID, "12", 12, 1},
		{"tree:12", keyTree, "12", 12, 1},
		{"unit:ssh.service", keyUnit, "ssh.service", 0, 1},
		{"cgroup:/a/b", keyCgroup, "/a/b", 0, 1},
		{"container:ABCD", keyContainer, "abcd", 0, 1},
		{"port:8080", keyPort, "8080", 8080, 1},
		{"port:80,user:0,name:x,y", keyPort, "80", 80, 3},
	} {
		s, err := ParseSelector(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		got := s.terms[0]
		if len(s.terms) != tt.terms || got.key != tt.key || got.text != tt.arg || got.number != tt.number || s.String() != tt.text {
			t.Errorf("%s: %d terms, first %+v", tt.text, len(s.terms), got)
		}
	}
}

func TestSelectorKind(t *testing.T) {
	s, _ := ParseSelector("12")
	if pid, ok := s.PID(); !ok || pid != 12 {
		t.Error("12 is not a PID")
	}
	s, _ = ParseSelector("x")
	if name, ok := s.Name(); !ok || name != "x" {
		t.Error("x is not a name")
	}
	s, _ = ParseSelector("name:x,pid:3")
	if _, ok := s.PID(); ok {
		t.Error("a combination is a PID")
	}
	if _, ok := s.Name(); ok {
		t.Error("a combination is a name")
	}
}

func TestParseSelectorErrors(t *testing.T) {
	for _, tt := range []struct{ text, cause, remedy string }{
		{"", "empty", "exe:PATH"},
		{"a\x00b", "NUL", "remove"},
		{"0", "not a number from 1", "name:0"},
		{"99999999999", "not a number from 1", "name:99999999999"},
		{"-12", "not negative", "pgid:N"},
		{"prot:80", "no selector is called prot:", "name:prot:80"},
		{"port:http", "http is not a number from 1 to 65535", "not a service"},
		{"port:65536", "65536 is not a number", ""},
		{"pid:x", "x is not a number", "name:x"},
		{"cmd:a(b", "missing closing )", "RE2"},
		{"exe:", "nothing follows exe:", "port:N"},
		{"user:no such user", "no user", "id -u"},
		{"container:web", "hexadecimal", "docker inspect"},
		{"container:abc", "too short", "four"},
		{"container:a-b-c", "too short", "four"},
		{"unit:/x", "no slash", "cgroup:/x"},
		{"port:80,user:", "nothing follows user:", ""},
	} {
		s, err := ParseSelector(tt.text)
		if !errors.Is(err, ErrSelector) || len(s.terms) != 0 {
			t.Errorf("%q: selector %v, error %v", tt.text, s, err)
			continue
		}
		if !strings.Contains(err.Error(), tt.cause) || !strings.Contains(err.Error(), tt.remedy) {
			t.Errorf("%q: %v", tt.text, err)
		}
	}
	_, err := ParseSelector("cmd:[")
	if e := (*syntax.Error)(nil); !errors.As(err, &e) {
		t.Errorf("regexp's own error is lost: %v", err)
	}
}

func TestUserByName(t *testing.T) {
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	s, err := ParseSelector("user:nobody")
	if err != nil || s.terms[0].number == 0 {
		t.Errorf("user %v: %+v, %v", u, s, err)
	}
}

func FuzzParseSelector(f *testing.F) {
	for _, s := range []string{"1", "x", "cmd:a,user:0", "port:1,port:2,", "container:0123-", ",,", "name:", "exe:/,:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSelector(text)
		if (err == nil) != (len(s.terms) > 0) {
			t.Fatalf("%q: %d terms, error %v", text, len(s.terms), err)
		}
	})
}
