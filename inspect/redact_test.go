package inspect

import (
	"slices"
	"testing"
)

func TestRedact(t *testing.T) {
	environ, args := []string{"PASSWORD=a=b", "EMPTY=", "odd"}, []string{"/bin/app", "--token=x", "--verbose", "-psecret", "-p", "secret", "--", "-"}
	r := &Report{Process: Process{Environ: slices.Clone(environ), Args: slices.Clone(args)}}
	shared := *r
	r.Redact()
	if want := []string{"PASSWORD=…", "EMPTY=…", "…"}; !slices.Equal(r.Process.Environ, want) {
		t.Errorf("%q", r.Process.Environ)
	}
	if want := []string{"/bin/app", "--token=…", "--verbose", "-p…", "-p", "…", "--", "-"}; !slices.Equal(r.Process.Args, want) {
		t.Errorf("%q", r.Process.Args)
	}
	if !slices.Equal(shared.Process.Environ, environ) || !slices.Equal(shared.Process.Args, args) {
		t.Error("it changed what others may use")
	}
}
