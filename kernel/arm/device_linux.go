package arm

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// exclusive has open(2) fail for a block device that is in use.
const exclusive = syscall.O_EXCL

func isBusy(err error) bool { return errors.Is(err, syscall.EBUSY) }

// blockNumber is the major:minor of a block device's file.
func blockNumber(file string) (string, bool) {
	st, err := os.Stat(file)
	if err != nil || st.Mode()&os.ModeDevice == 0 || st.Mode()&os.ModeCharDevice != 0 {
		return "", false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	// The kernel's and the C library's packing of the two (makedev(3)).
	n := sys.Rdev
	major, minor := n>>8&0xfff|n>>32&^0xfff, n&0xff|n>>12&^0xff
	return fmt.Sprintf("%d:%d", uint32(major), uint32(minor)), true
}
