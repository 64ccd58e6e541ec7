package main

// Names of contestants that figures refer to.
const (
	nameLimit    = "limit"
	nameEarly    = "limit, early"
	nameGcore    = "gcore"
	nameKernel   = "kernel"
	nameProcdump = "procdump -ma"
	namePacked   = "procdump -ma -z"
	nameMini     = "procdump -mm"
	nameIdle     = "nobody (noise)"
)

// Where the dumps go.
const (
	placeTmpfs = "tmpfs"
	placeDisk  = "disk"
)

// result is a case's table rows.
type result struct {
	name string
	rows []*row
}

// row finds a contestant's row, nil if it did not take part.
func (r *result) row(tool, place string) *row {
	if r == nil {
		return nil
	}
	for _, x := range r.rows {
		if x.tool == tool && x.place == place {
			return x
		}
	}
	return nil
}

// limit is the faster of the machine's limits in a place: what one of them
// leaves to the fsync the other may overlap.
func (r *result) limit(place string) *row {
	if r == nil {
		return nil
	}
	plain, early := r.row(nameLimit, place), r.row(nameEarly, place)
	if early == nil || early.err() != nil || plain != nil && plain.err() == nil && plain.median(durableOf) <= early.median(durableOf) {
		return plain
	}
	return early
}
