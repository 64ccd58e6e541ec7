package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"procdump/victims/need"
)

// agreement counts, victim by victim, how many frames of its judges inspect has.
type agreement struct{ all []*tally }

// tally is of one victim and one judge: a debugger on the live process, or what
// the victim itself says.
type tally struct {
	victim, judge string
	looks         int // reports that were compared, on the process and on dumps
	stacks        int
	frames        int // of the judge, and those that inspect has beyond them
	equal         int
	lost          int // of the judge, where it guesses itself: not compared
	misses        []string
}

// of begins a tally.
func (a *agreement) of(victim, judge string) *tally {
	y := &tally{victim: victim, judge: judge}
	a.all = append(a.all, y)
	return y
}

// count holds what inspect has of one stack against the judge's frame by frame,
// by their numbers: a frame too many is a miss, and so is each one behind it.
func count[F any](y *tally, where string, want, got []F, same func(want, got F) bool) {
	y.stacks++
	y.frames += max(len(want), len(got))
	at := func(all []F, i int) string {
		if i < len(all) {
			return fmt.Sprint(all[i])
		}
		return "none"
	}
	for i := range max(len(want), len(got)) {
		if i < len(want) && i < len(got) && same(want[i], got[i]) {
			y.equal++
			continue
		}
		y.misses = append(y.misses, fmt.Sprintf("%s %s, #%d: %s has %s, inspect has %s", y.victim, where, i, y.judge, at(want, i), at(got, i)))
	}
}

// stacksOf counts all threads of one report.
func (y *tally) stacksOf(who string, want, got stacks) {
	y.looks++
	both := maps.Clone(want)
	maps.Copy(both, got)
	for _, tid := range slices.Sorted(maps.Keys(both)) {
		count(y, fmt.Sprintf("(%s) thread %d", who, tid), want[tid], got[tid], sameFrame)
	}
}

// compare is compare with everything equal, and counts.
func (y *tally) compare(t testing.TB, who string, want, got stacks) {
	t.Helper()
	compare(t, who, want, got, rule{})
	y.stacksOf(who, want, got)
}

// sameText is for stacks whose frames are lines.
func sameText(want, got string) bool { return want == got }

func (f frame) String() string { return fmt.Sprintf("%#x %s", f.pc, f.name) }

func percent(equal, frames int) float64 { return 100 * float64(equal) / float64(max(frames, 1)) }

// check writes the figures and every miss. 99 % must be equal, of all frames and
// of the mean victim, so that a victim of many frames hides nothing.
func (a *agreement) check(t *testing.T) {
	var b strings.Builder
	line := func(victim, judge string, looks, stacks, frames, equal, lost int) {
		fmt.Fprintf(&b, "%-26s %-12s %6d %7d %8d %8d %7d %7.2f%% %7d\n", victim, judge, looks, stacks, frames, equal, frames-equal, percent(equal, frames), lost)
	}
	fmt.Fprintf(&b, "%-26s %-12s %6s %7s %8s %8s %7s %8s %7s\n", "victim", "judge", "looks", "stacks", "frames", "equal", "missed", "", "lost")
	var sum tally
	mean := 0.0
	for _, y := range a.all {
		line(y.victim, y.judge, y.looks, y.stacks, y.frames, y.equal, y.lost)
		sum.looks += y.looks
		sum.stacks += y.stacks
		sum.frames += y.frames
		sum.equal += y.equal
		sum.lost += y.lost
		sum.misses = append(sum.misses, y.misses...)
		mean += percent(y.equal, y.frames) / float64(len(a.all))
	}
	line("all", "", sum.looks, sum.stacks, sum.frames, sum.equal, sum.lost)
	t.Logf("frames of the judges that inspect has (lost: where the judge itself guesses)\n%smean of the victims %.2f%%", b.String(), mean)
	const most = 500
	for _, m := range sum.misses[:min(len(sum.misses), most)] {
		t.Log(m)
	}
	if n := len(sum.misses) - most; n > 0 {
		t.Logf("… and %d more", n)
	}
	if sum.frames == 0 || percent(sum.equal, sum.frames) < 99 || mean < 99 {
		t.Errorf("%d of %d frames are equal, %.2f%%, of the mean victim %.2f%%; want 99%%", sum.equal, sum.frames, percent(sum.equal, sum.frames), mean)
	}
}

// TestInspectAgreement compares every thread's stack with those of judges, over
// all victims, and holds the sum to what is promised.
func TestInspectAgreement(t *testing.T) {
	need.Root(t)
	need.Tool(t, "gdb")
	a := &agreement{}
	for _, part := range []struct {
		name string
		run  func(*testing.T, *agreement)
	}{
		{"stacks", inspectStacks}, {"musl", inspectMusl}, {"inlined", inspectInlined}, {"runtimes", inspectRuntimes},
		{"goroutines", inspectGoroutines}, {"scripts", inspectScripts},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, a) })
	}
	a.check(t)
}

// TestAgreementSeesMisses guards the count itself.
func TestAgreementSeesMisses(t *testing.T) {
	base := stacks{1: {{pc: 1, name: "a"}, {pc: 2, name: "b"}}}
	for name, c := range map[string]struct {
		got           stacks
		frames, equal int
	}{
		"equal":          {base, 2, 2},
		"other name":     {stacks{1: {{pc: 1, name: "a"}, {pc: 2, name: "c"}}}, 2, 1},
		"frame too few":  {stacks{1: {{pc: 1, name: "a"}}}, 2, 1},
		"frame too many": {stacks{1: {{pc: 1, name: "a"}, {pc: 2, name: "b"}, {pc: 4, name: "d"}}}, 3, 2},
		"missing thread": {stacks{}, 2, 0},
		"more threads":   {stacks{1: base[1], 2: base[1]}, 4, 2},
	} {
		a := &agreement{}
		y := a.of("victim", "judge")
		y.stacksOf("a dump", base, c.got)
		if y.frames != c.frames || y.equal != c.equal || len(y.misses) != c.frames-c.equal {
			t.Errorf("%s: %d of %d frames are equal, %q; want %d of %d", name, y.equal, y.frames, y.misses, c.equal, c.frames)
		}
	}
}
