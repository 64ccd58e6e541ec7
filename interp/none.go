//go:build nointerp || !linux || !amd64

package interp

import (
	"errors"
	"fmt"

	"procdump/image"
	"procdump/snapshot"
)

// New returns a walker of a process. This build has none: it was made with the
// tag nointerp, or for a machine whose stacks are not known.
func New(p *snapshot.Process, set *image.Set) (Walker, error) {
	if !Has(p) {
		return nil, ErrNone
	}
	return nil, fmt.Errorf("find the functions of scripts: %w: this procdump was built without it", errors.ErrUnsupported)
}
