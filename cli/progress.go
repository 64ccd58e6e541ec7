package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	barDelay    = time.Second            // a shorter dump shows no progress
	barInterval = 100 * time.Millisecond // between two looks of the bar
)

// job is a dump under way, as the progress bar sees it.
type job struct {
	start       time.Time
	reported    time.Time // last JSON event
	done, total int64
}

// bar is the progress bar at the bottom of the terminal, one for all jobs.
type bar struct {
	jobs  []*job
	drawn time.Time
	shown int // columns that it takes now
	below int // lines that the live view takes above the cursor
}

// startJob and endJob say when a dump's progress is to be shown.
func (c *Console) startJob(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*j = job{start: c.config.Now()}
	c.bar.jobs = append(c.bar.jobs, j)
}

func (c *Console) endJob(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bar.jobs = slices.DeleteFunc(c.bar.jobs, func(other *job) bool { return other == j })
	c.clearBar()
}

// progress notes how far d is and draws the bar or prints an event, unless
// that was done just now or the reader does not keep up.
func (c *Console) progress(d *DumpConsole, done, total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := &d.job
	if !slices.Contains(c.bar.jobs, j) {
		return // not initiated, or over: its reader was told so
	}
	j.done, j.total = max(done, 0), max(total, done, 0)
	now := c.config.Now()
	if now.Sub(j.start) < barDelay || !c.spool.idle() {
		return
	}
	if !c.config.JSON {
		c.drawBar(d.number, now)
		return
	}
	if now.Sub(j.reported) >= barDelay {
		j.reported = now
		c.put(&progressEvent{eventHead{"progress", now}, d.ids(), d.number, d.path, j.done, j.total, rate(j.done, now.Sub(j.start))})
	}
}

// rate is bytes per second.
func rate(bytes int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64(float64(bytes) / d.Seconds())
}

// drawBar draws the bar over itself. The caller holds mu.
func (c *Console) drawBar(number int, now time.Time) {
	width := c.config.Width()
	if width <= 0 || now.Sub(c.bar.drawn) < barInterval {
		return
	}
	if c.bar.below > 0 {
		c.clearBar()
	}
	c.bar.drawn = now
	text := c.bar.text(number, now, width-1) // the last column would scroll some terminals
	pad := max(0, min(c.bar.shown, width-1)-len(text))
	c.bar.shown = len(text)
	c.spool.put(c.config.Err, []byte("\r"+text+strings.Repeat(" ", pad)+strings.Repeat("\b", pad)))
}

// clearBar takes the bar and the live view off the terminal. The caller holds mu.
func (c *Console) clearBar() {
	if c.bar.below > 0 {
		// Up to its first line, and erase from there on (ECMA-48 CPL, ED).
		c.spool.put(c.config.Err, fmt.Appendf(nil, "\r\x1b[%dF\x1b[J", c.bar.below))
		c.bar.below, c.bar.shown = 0, 0
	}
	if c.bar.shown > 0 {
		c.spool.put(c.config.Err, []byte("\r"+strings.Repeat(" ", c.bar.shown)+"\r"))
		c.bar.shown = 0
	}
	c.bar.drawn = time.Time{}
}

// text is the bar in at most width columns, ASCII so that bytes are columns.
// What does not fit is left out, the least wanted first.
func (b *bar) text(number int, now time.Time, width int) string {
	label := fmt.Sprintf("Dump %d", number)
	if len(b.jobs) > 1 {
		label = fmt.Sprintf("%d dumps", len(b.jobs))
	}
	var done, total, speed int64
	for _, j := range b.jobs {
		done += j.done
		total += j.total
		speed += rate(j.done, now.Sub(j.start))
	}
	share := 0.0
	if total > 0 {
		share = float64(done) / float64(total)
	}
	text := fmt.Sprintf("%s %3.0f%%", label, 100*share)
	details := []string{sizeText(done) + " of " + sizeText(total)}
	if speed > 0 {
		details = append(details, sizeText(speed)+"/s")
		const most = 99 * 3600 // seconds; beyond that it is no estimate and overflows a Duration
		if left := float64(total-done) / float64(speed); left < most {
			details = append(details, "ETA "+spanText(time.Duration(left*float64(time.Second))))
		}
	}
	for _, d := range details {
		if len(text)+2+len(d) <= width {
			text += "  " + d
		}
	}
	if room := min(width-len(text)-3, 40); room >= 10 {
		filled := int(share * float64(room))
		meter := " [" + strings.Repeat("#", filled) + strings.Repeat(".", room-filled) + "]"
		text = text[:len(label)] + meter + text[len(label):]
	}
	return text[:min(len(text), max(width, 0))]
}
