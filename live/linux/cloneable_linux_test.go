package linux

import "testing"

func TestTellsRseq(t *testing.T) {
	for release, want := range map[string]bool{"4.18.0-553.el8": false, "5.9.1": false, "5.12.19-arch": false, "5.13.0": true, "5.15.0-91-generic": true,
		"6.1.0": true, "10.0-rc1": true, "": false, "x": false} {
		if got := tellsRseq(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

func TestInService(t *testing.T) {
	for text, want := range map[string]bool{
		"0::/system.slice/web.service\n":                                       true,
		"0::/system.slice/web.service/worker\n":                                true,
		"0::/../web.service\n":                                                 true,
		"0::/user.slice/user-0.slice/user@0.service/app.slice/a@1.service\n":   true,
		"0::/user.slice/user-0.slice/user@0.service/app.slice/app-x-7.scope\n": false,
		"0::/user.slice/user-0.slice/session-3.scope\n":                        false,
		"4:memory:/a.service\n1:name=systemd:/system.slice/a.service\n0::/\n":  true,
		"4:memory:/a.service\n1:name=systemd:/\n0::/\n":                        false,
		"0::/system.slice/web.services\n":                                      false,
		"0::/\n":                                                               false,
		"":                                                                     false,
	} {
		if got := inService(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
