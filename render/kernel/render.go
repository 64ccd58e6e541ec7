// Package kernel renders the report on a kernel dump: text for a person who has
// to know at three in the morning what happened, and JSON for programs.
//
// The text begins with the conclusion; the evidence follows, the most telling
// first. Its length is bounded: of what there is much of, such as tasks, it
// shows the first and says how many more there are. JSON has all of them.
package kernel

import (
	"fmt"
	"io"

	"procdump/inspect/kernel"
	layout "procdump/render/page"
)

// JSON writes the report as one indented JSON object.
func JSON(w io.Writer, r *kernel.Report) error { return layout.JSON(w, r) }

// Text writes the report for a person.
func Text(w io.Writer, r *kernel.Report) error {
	p := &page{}
	p.head(r)
	if r.System == "Windows" {
		p.windows(r)
	}
	p.processors(r)
	p.tasks(r.Tasks)
	p.modules(r)
	p.memory(r)
	p.log(r.Log)
	p.warnings(r.Warnings)
	_, err := io.WriteString(w, p.String())
	return err
}

// page is one about a kernel.
type page struct{ layout.Page }

// uptime is a number of seconds in words.
func uptime(s int64) string {
	d, h, m := s/86400, s/3600%24, s/60%60
	switch {
	case d > 0:
		return fmt.Sprintf("%d d %d h %d min", d, h, m)
	case h > 0:
		return fmt.Sprintf("%d h %d min", h, m)
	case m > 0:
		return fmt.Sprintf("%d min %d s", m, s%60)
	}
	return fmt.Sprintf("%d s", s)
}
