//go:build nointerp || !linux || !amd64

package interp

import (
	"errors"
	"fmt"

	"procdump/image"
	"procdump/snapshot"
)

// profiles tells that this build has the profiler.
const profiles = false

// newProfiler returns a walker of a process. This build has none: it was made with
// the tag nointerp, or for a machine whose stacks are not known.
func newProfiler(*snapshot.Process, *image.Set) (Walker, error) {
	return nil, fmt.Errorf("find the functions of scripts: %w: this procdump was built without it", errors.ErrUnsupported)
}
