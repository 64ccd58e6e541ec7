// Package guard keeps a panic of code that trusts what it reads, be it of the
// standard library or of another module, from going further than the data that
// have made it.
package guard

import "fmt"

// Do does something and turns a panic into an error, which begins with what.
func Do(what string, do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %v", what, r)
		}
	}()
	return do()
}
