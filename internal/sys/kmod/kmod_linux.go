package kmod

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Load loads a module whose file is image, with parameters as insmod(8) takes
// them. A module that is loaded already is no error (init_module(2)).
func Load(image []byte, parameters string) error {
	return known(unix.InitModule(image, parameters))
}

// LoadFile loads a module from its file, which is not compressed: the kernel
// reads it, so that it takes no memory of procdump (finit_module(2)).
func LoadFile(f *os.File, parameters string) error {
	return known(unix.FinitModule(int(f.Fd()), parameters, 0))
}

// known drops the error of a module that is loaded already.
func known(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
