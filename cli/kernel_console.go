package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/layout"
	"procdump/kernel/live"
)

// kernelConsole prints the course of a dump of the kernel: the lines and events
// of a process's dump, of a process called kernel that has no number.
type kernelConsole struct {
	*DumpConsole
	kind     string
	format   string
	compress diskdump.Compression
	kernel   capture.Kind
	page     int
	release  string
	shift    uint64 // KASLR's, of the kernel image
	stream   bool
}

func newKernelConsole(c *Console, o *kernelOptions, format capture.Format) *kernelConsole {
	k := &kernelConsole{
		DumpConsole: c.Process(Process{Name: "kernel"}, false).Dump(1),
		kind:        o.Kind.String(), format: format.String(), compress: o.Compression, kernel: o.Kind, stream: o.Path == "-",
	}
	if o.Small {
		k.kind = kindSmall
	}
	if format == capture.FormatAuto {
		k.format = capture.KDump.String()
	}
	if k.format == capture.ELF.String() {
		k.compress = diskdump.Stored
	}
	return k
}

// kernelEvent says what is going to be dumped.
type kernelEvent struct {
	eventHead
	Release         string `json:"release"`
	Machine         string `json:"machine"`
	Host            string `json:"host"`
	CPUs            int    `json:"cpus"`
	MemoryBytes     int64  `json:"memoryBytes"`
	VirtualMachines int    `json:"virtualMachines"`
}

// Source prints which kernel is dumped, and what is not known of it.
func (k *kernelConsole) Source(d *kdump.Dump, guests live.Guests, warnings []string) {
	k.page, k.release, k.shift = d.PageSize, d.Uname.Release, layout.ParseInfo(d.VMCoreInfo).KernelOffset()
	memory := int64(d.Pages()) * int64(d.PageSize)
	if c := k.console; c.config.JSON {
		c.event(&kernelEvent{c.head("kernel"), d.Uname.Release, d.Uname.Machine, d.Uname.Nodename, len(d.CPUs), memory, guests.VMs})
	} else {
		text := fmt.Sprintf("Linux %s (%s) on %s: %s of memory, %d CPUs", d.Uname.Release, d.Uname.Machine, d.Uname.Nodename, sizeText(memory), len(d.CPUs))
		if n := guests.VMs; n > 0 {
			text += fmt.Sprintf(", %d virtual machines with %s", n, sizeText(int64(guests.Pages)*int64(d.PageSize)))
		}
		k.line(oneLine(text))
	}
	for _, w := range warnings {
		k.console.Warning(w)
	}
}

// run writes the dump that j has prepared, and prints its course.
func (k *kernelConsole) run(ctx context.Context, j *capture.Job) error {
	start := time.Now()
	k.Initiated(j)
	res, err := j.Run(ctx)
	if err != nil {
		return k.failed(err)
	}
	k.Complete(j, res, time.Since(start))
	return nil
}

// failed prints why there is no dump, and returns an error that says so.
func (k *kernelConsole) failed(err error) error {
	k.Failed(err)
	return fmt.Errorf("%w: %w", errReported, err)
}

// Initiated prints that the dump is about to be written, and how large it is
// going to be.
func (k *kernelConsole) Initiated(j *capture.Job) {
	k.path = j.Path()
	if k.stream {
		k.path = "-"
	}
	c := k.console
	c.startJob(&k.job)
	if !k.stream && j.Plan.Free >= 0 {
		k.Space(folderOf(k.path), j.Plan.Free)
	}
	if c.config.JSON {
		c.event(&initiatedEvent{c.head("initiated"), k.ids(), k.number, k.path, k.kind, k.format, k.compress != diskdump.Stored})
	} else {
		k.dumpLine("initiated: %s", oneLine(k.path))
	}
	k.Estimate(j.Plan.Estimate)
}

func folderOf(path string) string { return path[:strings.LastIndexByte(path, '/')+1] }

// kernelCompleteEvent is the end of a dump of the kernel, with what it holds.
type kernelCompleteEvent struct {
	eventHead
	eventProcess
	Dump          int               `json:"dump"`
	Path          string            `json:"path"`
	Kind          string            `json:"kind"`
	Format        string            `json:"format"`
	Compression   string            `json:"compression"`
	SizeBytes     int64             `json:"sizeBytes"`
	DiskBytes     int64             `json:"diskBytes"`
	ElapsedMicros int64             `json:"elapsedMicros"`
	Pages         uint64            `json:"pages"`
	ZeroPages     uint64            `json:"zeroPages"`
	LatePages     uint64            `json:"latePages"`
	MissedPages   uint64            `json:"missedPages"`
	LeftOut       map[string]uint64 `json:"leftOutBytes"`
	Open          []string          `json:"open"`
}

// Complete prints the dump's end: what it holds, what it left out, and how to
// open it.
func (k *kernelConsole) Complete(j *capture.Job, r *capture.Result, elapsed time.Duration) {
	c := k.console
	c.endJob(&k.job)
	leftOut := map[string]uint64{}
	var parts []string
	for class, n := range j.Plan.LeftOut(k.kernel, k.page) {
		leftOut[class.String()] = n
		parts = append(parts, class.String()+" "+sizeText(int64(n)))
	}
	open := k.open(r.Path)
	if c.config.JSON {
		path := r.Path
		if k.stream {
			path = "-"
		}
		c.event(&kernelCompleteEvent{c.head("kernelComplete"), k.ids(), k.number, path, k.kind, k.format, k.compress.String(),
			r.Size, r.Disk, elapsed.Microseconds(), r.Pages, r.Zero, r.Late, r.Missed, leftOut, nonNil(open)})
	} else {
		c.print(c.config.Out, k.head()+fmt.Sprintf("complete: %d MB written in %.1f seconds\n", megabytes(r.Size), elapsed.Seconds())+
			k.summary(r, parts, open, elapsed))
	}
	for _, w := range r.Warnings {
		c.Warning(w)
	}
}

// summary is the closing lines of a dump.
func (k *kernelConsole) summary(r *capture.Result, leftOut, open []string, elapsed time.Duration) string {
	var b closing
	if r.Path != "" {
		b.row("file", oneLine(r.Path))
	}
	size := sizeText(r.Size)
	if r.Disk >= 0 {
		size += ", " + sizeText(r.Disk) + " on disk"
	}
	b.row("size", size)
	b.row("time", fmt.Sprintf("%.2f s", elapsed.Seconds()))
	held := fmt.Sprintf("%d pages, %s", r.Pages, sizeText(int64(r.Pages)*int64(k.page)))
	if r.Zero > 0 {
		held += fmt.Sprintf("; %d of zeros", r.Zero)
	}
	if r.Late > 0 {
		held += fmt.Sprintf("; %d came into use meanwhile", r.Late)
	}
	b.row("memory", held)
	if len(leftOut) > 0 {
		b.row("left out", strings.Join(leftOut, ", "))
	}
	b.row("open", open...)
	return b.String()
}

// open are the shell commands that open the dump, the best one first.
func (k *kernelConsole) open(path string) []string {
	if path == "" {
		return nil
	}
	image := shellQuote("/usr/lib/debug/boot/vmlinux-" + k.release)
	return []string{"crash " + image + " " + shellQuote(path), "drgn -c " + shellQuote(path) + " -s " + image}
}
