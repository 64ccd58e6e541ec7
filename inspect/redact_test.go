package inspect

import (
	"slices"
	"testing"
)

func TestRedact(t *testing.T) {
	environ, args := []string{"PASSWORD=a=b", "EMPTY=", "odd"}, []string{"/bin/app", "--token=x", "--verbose", "-psecret", "-p", "secret", "--", "-", "--key:x", "--key x", "-é"}
	r := &Report{Process: Process{Environ: slices.Clone(environ), Args: slices.Clone(args)}}
	shared := *r
	r.Redact()
	if want := []string{"PASSWORD=…", "EMPTY=…", "…"}; !slices.Equal(r.Process.Environ, want) {
		t.Errorf("%q", r.Process.Environ)
	}
	if want := []string{"/bin/app", "--token=…", "--verbose", "-p…", "-p", "…", "--", "-", "--key:…", "--key …", "-é…"}; !slices.Equal(r.Process.Args, want) {
		t.Errorf("%q", r.Process.Args)
	}
	for title, want := range map[string]string{"app: --token x": "app: …", "/opt/the app": "/opt/the app", "app": "app", "/opt/the other": "/opt/the …"} {
		r := &Report{Process: Process{Exe: "/opt/the app", Args: []string{title}}}
		if r.Redact(); r.Process.Args[0] != want {
			t.Errorf("%q became %q, want %q", title, r.Process.Args[0], want)
		}
	}
	if !slices.Equal(shared.Process.Environ, environ) || !slices.Equal(shared.Process.Args, args) {
		t.Error("it changed what others may use")
	}
}
