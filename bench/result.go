package main

// Names of contestants that figures refer to.
const (
	nameLimit    = "limit"
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
