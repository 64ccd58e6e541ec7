package capture

import (
	"context"
	"fmt"
	"io"
	"iter"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kernel/pages"
)

// Plan is what a dump is going to hold.
type Plan struct {
	Pages uint64 // wanted
	// Counts are the uses of all pages; Known is false where they could not be
	// found out.
	Counts pages.Counts
	Known  bool
	// Missing are the uses of those pages that the source's dump lacks already.
	Missing pages.Counts
	// Estimate is about how many bytes of disk the dump takes.
	Estimate int64
	// Free is the free space of its folder in bytes, -1 if that is not known.
	Free int64
}

// LeftOut yields how many bytes of each class of memory are not wanted.
func (p *Plan) LeftOut(k Kind, pageSize int) iter.Seq2[pages.Class, uint64] {
	return func(yield func(pages.Class, uint64) bool) {
		for i, n := range p.Counts.Pages {
			c := pages.Class(i)
			if n > 0 && c != pages.Hole && !k.Mask().Has(c) && !yield(c, n*uint64(pageSize)) {
				return
			}
		}
	}
}

// scan puts the pages that the job's kind takes now, and that have does not
// hold yet, into a bitmap, and counts all.
func (j *Job) scan(into, have *kdump.Bitmap) (pages.Counts, error) {
	var counts, missing pages.Counts
	into.ClearRange(0, into.Len())
	mask, page := j.options.Kind.Mask(), uint64(j.dump.PageSize)
	err := pages.Scan(j.pages, j.dump.Runs, page, func(pfn uint64, ps []pages.Page) error {
		counts.Add(ps)
		for i := 0; i < len(ps); {
			if !mask.Takes(ps[i]) {
				i++
				continue
			}
			first := i
			for i < len(ps) && mask.Takes(ps[i]) {
				i++
			}
			into.SetRange(pfn+uint64(first), uint64(i-first))
		}
		if j.present != nil {
			for gap := range j.present.Gaps(pfn, pfn+uint64(len(ps))) {
				missing.Add(ps[gap.PFN-pfn:][:gap.Count])
				into.ClearRange(gap.PFN, gap.Count)
			}
		}
		return nil
	})
	j.Plan.Missing = missing
	if have != nil {
		for r := range have.Runs() {
			into.ClearRange(r.PFN, r.Count)
		}
	}
	return counts, err
}

// maxAddr is above the memory of every machine that there is, in bytes. The sets
// of pages take up to 4 GiB each of address space below it.
const maxAddr = 128 << 40

// plan looks at all pages.
func (j *Job) plan(ctx context.Context) error {
	if end := j.dump.MaxPFN() * uint64(j.dump.PageSize); end > maxAddr {
		return fmt.Errorf("plan dump: it says that there is memory up to address %#x, which no machine has: it is damaged", end)
	}
	j.wanted = kdump.NewBitmap(j.dump.MaxPFN())
	if j.options.AsIs {
		j.takePresent()
	} else if err := j.choose(); err != nil {
		return err
	}
	j.Plan.Pages = j.wanted.Count()
	return j.estimate(ctx)
}

// choose sets wanted by the uses of pages.
func (j *Job) choose() error {
	src, err := j.source.Pages()
	switch {
	case err == nil:
		j.pages = src
		if !j.source.Live() {
			j.present = presentOf(j.dump)
		}
		if j.Plan.Counts, err = j.scan(j.wanted, nil); err != nil {
			return fmt.Errorf("find out what pages are used for: %w", err)
		}
		j.Plan.Known = j.Plan.Counts.Pages[pages.Unknown] < j.Plan.Counts.RAM()
		if !j.source.Live() {
			return j.checkHeld()
		}
	case j.options.Kind == Complete:
		j.takePresent()
	default:
		return err
	}
	return nil
}

// takePresent wants all that the source's dump has.
func (j *Job) takePresent() {
	for r := range j.dump.Present() {
		j.wanted.SetRange(r.PFN, r.Count)
	}
	j.within()
}

// presentOf is the set of pages that a dump has, nil if it has all.
func presentOf(d *kdump.Dump) *kdump.Bitmap {
	set, all := kdump.NewBitmap(d.MaxPFN()), true
	for r := range d.PageRuns(0, d.MaxPFN()) {
		if r.State == kdump.PagePresent {
			set.SetRange(r.PFN, r.Count)
		}
		all = all && r.State != kdump.PageExcluded
	}
	if all {
		return nil
	}
	return set
}

// within drops what is not in the ranges of memory.
func (j *Job) within() {
	next, page := uint64(0), uint64(j.dump.PageSize)
	for _, r := range j.dump.Runs {
		first := (r.Addr + page - 1) / page
		j.wanted.ClearRange(next, first-min(first, next))
		next = r.End() / page
	}
	j.wanted.ClearRange(next, j.wanted.Len())
}

// samplePages is how many pages are compressed to find out how well that works
// with this memory: some 10 ms of work.
const samplePages = 256

// estimate sets Plan.Estimate.
func (j *Job) estimate(ctx context.Context) error {
	size := uint64(j.dump.PageSize)
	const headers = 64 << 10
	if j.options.Format == ELF {
		const programHeader = 56
		var runs uint64
		for range j.wanted.Runs() {
			runs++
		}
		j.Plan.Estimate = int64(headers + runs*programHeader + j.Plan.Pages*size)
		return nil
	}
	const descriptor = 24
	fixed := headers + 2*j.wanted.Len()/8 + j.Plan.Pages*descriptor
	if j.Plan.Pages == 0 {
		j.Plan.Estimate = int64(fixed)
		return nil
	}
	step := max(j.Plan.Pages/samplePages, 1)
	data, err := j.trial(ctx, every(j.wanted, step))
	if err != nil {
		return err
	}
	sampled := (j.Plan.Pages + step - 1) / step
	j.Plan.Estimate = int64(fixed + data*j.Plan.Pages/sampled)
	return nil
}

// every yields every step-th page of a set, from the first.
func every(set *kdump.Bitmap, step uint64) iter.Seq[kdump.PageRun] {
	return func(yield func(kdump.PageRun) bool) {
		skip := uint64(0)
		for r := range set.Runs() {
			for ; skip < r.Count; skip += step {
				if !yield(kdump.PageRun{PFN: r.PFN + skip, Count: 1, State: r.State}) {
					return
				}
			}
			skip -= r.Count
		}
	}
}

// trial returns how many bytes some pages take in a dump.
func (j *Job) trial(ctx context.Context, wanted iter.Seq[kdump.PageRun]) (uint64, error) {
	k, err := diskdump.NewWriter(nowhere{}, j.dump, diskdump.Options{Compression: j.options.Compression, Fast: j.fast()})
	if err != nil {
		return 0, err
	}
	if err := k.Write(ctx, wanted); err != nil {
		return 0, fmt.Errorf("estimate size of dump: %w", err)
	}
	return uint64(k.Stats().Data), nil
}

// nowhere drops what is written to it.
type nowhere struct{}

var _ io.WriterAt = nowhere{}

func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
