package arm

import (
	"strings"

	"procdump/internal/sys/kexec"
)

// Status is how things stand.
type Status struct {
	// Armed says that procdump's crash kernel is loaded. Otherwise Why says why
	// not, and what to do.
	Armed bool   `json:"armed"`
	Why   string `json:"why,omitempty"`
	// Foreign names the program whose crash kernel is loaded instead.
	Foreign string `json:"foreign,omitempty"`
	// ReservedBytes is the memory set aside at boot, AdvisedMiB what is good for
	// this machine.
	ReservedBytes int64  `json:"reservedBytes"`
	AdvisedMiB    int64  `json:"advisedMiB"`
	Lockdown      string `json:"lockdown,omitempty"`
	// Loaded is what procdump has loaded, nil if it has not.
	Loaded *Loaded `json:"loaded,omitempty"`
	// Systemd says that it runs, Unit that it arms the machine at each boot.
	Systemd bool `json:"systemd"`
	Unit    bool `json:"unit"`
	// Others are units of other tools that are enabled and load their crash
	// kernel at boot.
	Others []string `json:"others,omitempty"`
}

// Status asks how things stand. It changes nothing.
func (s *System) Status() (*Status, error) {
	state, err := kexec.Read(s.Root)
	if err != nil {
		return nil, err
	}
	st := &Status{ReservedBytes: state.Reserved, AdvisedMiB: s.advised(), Lockdown: state.Lockdown, Systemd: s.Systemd(), Unit: s.unitEnabled(), Others: s.others()}
	loaded := s.remembered()
	switch {
	case state.Loaded && loaded != nil:
		st.Armed, st.Loaded = true, loaded
		if len(st.Others) > 0 {
			st.Why = "another tool's service is enabled, too (" + strings.Join(st.Others, ", ") + "), and may have replaced it: the kernel does not tell"
		}
	case state.Loaded:
		st.Foreign = s.owner()
		st.Why = "the crash kernel of " + st.Foreign + " is loaded; procdump kernel arm -o replaces it"
	case loaded != nil:
		st.Why = "another program has unloaded the crash kernel; procdump kernel arm loads it again"
	default:
		root := *s
		root.User = 0 // anybody may ask
		if _, err := root.check(false); err != nil {
			st.Why = err.Error()
		} else {
			st.Why = "procdump kernel arm has not been run"
			if st.Unit {
				st.Why = "procdump kernel arm has not been run since the boot; systemctl status " + UnitName + " tells why"
			}
		}
	}
	return st, nil
}
