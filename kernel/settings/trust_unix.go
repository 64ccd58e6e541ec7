//go:build unix

package settings

import (
	"os"
	"syscall"
)

// untrusted says who else can change a file that root goes by, or "". Root writes
// to the device or the folder that it names.
func untrusted(st os.FileInfo) string {
	sys, ok := st.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return ""
	case sys.Uid != 0 && int(sys.Uid) != os.Geteuid():
		return "it belongs to another user than root"
	case st.Mode().Perm()&0o002 != 0, st.Mode().Perm()&0o020 != 0 && sys.Gid != 0:
		return "others than root can write it"
	}
	return ""
}
