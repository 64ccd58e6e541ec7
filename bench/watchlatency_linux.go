package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// How many processes a turn has.
const (
	briefsInTurn  = 40
	crossInTurn   = 4
	faultsInTurn  = 10
	crossMiB      = 64
	nameSlowPoll  = "procdump -m -s 0"
	nameFastPoll  = "procdump -m -s 0 -pf 10"
	nameFaultMini = "procdump -e -mm"
)

// inFolder runs f with a new folder in memory.
func (b *bench) inFolder(f func(dir string) ([]reading, error)) ([]reading, error) {
	dir, err := os.MkdirTemp(b.places[placeTmpfs], "run")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(dir)
	return f(dir)
}

func between(from, to int64) float64 { return float64(to-from) / 1000 }

// watchExec runs processes that live 5 ms, and looks when they were noticed and
// how much later their own first instruction ran.
func watchExec(b *bench) (*watch, error) {
	alone := &watchRow{who: nameNobody, figure: "execve to main"}
	noticed := &watchRow{who: nameNewcomers, figure: figureNoticed}
	begun := &watchRow{who: nameNewcomers, figure: alone.figure, base: alone}
	return &watch{turns: []turn{
		{rows: []*watchRow{alone}, run: func() ([]reading, error) {
			list, err := b.crowd.runBriefs(briefsInTurn)
			return []reading{toMain(list)}, err
		}},
		{rows: []*watchRow{noticed, begun}, run: func() ([]reading, error) {
			return b.inFolder(func(dir string) ([]reading, error) {
				f, err := b.follow(0, "-w", "-all", "-e", filepath.Base(b.crowd.briefs), dir)
				if err != nil {
					return nil, err
				}
				list, err := b.crowd.runBriefs(briefsInTurn)
				if err == nil {
					time.Sleep(100 * time.Millisecond)
				}
				f.end()
				if err != nil {
					return nil, err
				}
				watching, err := f.events("watching")
				return []reading{toWatched(list, watching), toMain(list)}, err
			})
		}},
	}}, nil
}

func toMain(list []brief) reading {
	r := cost()
	for _, x := range list {
		r.micros = append(r.micros, between(x.execed, x.main))
	}
	return r
}

// toWatched finds when each was watched. One that was noticed only after its
// end is not caught, but its latency counts.
func toWatched(list []brief, watching []event) reading {
	when := map[int]int64{}
	for _, e := range watching {
		when[e.PID] = e.Time.UnixNano()
	}
	r := cost()
	r.caught, r.of = 0, len(list)
	for _, x := range list {
		at, ok := when[x.pid]
		if !ok {
			continue
		}
		r.micros = append(r.micros, between(x.execed, at))
		if at < x.end {
			r.caught++
		}
	}
	return r
}

// watchThreshold lets processes cross a limit of commit.
func watchThreshold(b *bench) (*watch, error) {
	w := new(watch)
	for _, c := range []struct {
		who    string
		period time.Duration
		more   []string
	}{
		{nameSlowPoll, 250 * time.Millisecond, nil},
		{nameFastPoll, 10 * time.Millisecond, []string{"-pf", "10"}},
	} {
		w.turns = append(w.turns, turn{
			rows: []*watchRow{{who: c.who, figure: "crossing to stop"}, {who: c.who, figure: "crossing to dump complete"}},
			run: func() ([]reading, error) {
				stop, complete := cost(), cost()
				for range crossInTurn {
					readings, err := b.inFolder(func(dir string) ([]reading, error) { return b.cross(dir, c.period, c.more) })
					if err != nil {
						return nil, err
					}
					stop.micros = append(stop.micros, readings[0].micros...)
					complete.micros = append(complete.micros, readings[1].micros...)
				}
				return []reading{stop, complete}, nil
			},
		})
	}
	return w, nil
}

// cross is one crossing, at a random time within a period of sampling.
func (b *bench) cross(dir string, period time.Duration, more []string) ([]reading, error) {
	v, _, err := startAsked(b.actor)
	if err != nil {
		return nil, err
	}
	defer v.stop()
	f, err := b.follow(1, append(more, "-m", strconv.Itoa(crossMiB), "-s", "0", strconv.Itoa(v.pid), dir)...)
	if err != nil {
		return nil, err
	}
	defer f.end()
	time.Sleep(period + rand.N(period))
	crossed, err := v.ask("cross", strconv.Itoa(crossMiB))
	if err != nil {
		return nil, err
	}
	if err := f.wait("complete", 1); err != nil {
		return nil, err
	}
	complete, err := f.events("complete")
	if err != nil {
		return nil, err
	}
	trigger, err := f.events("trigger")
	if err != nil || len(trigger) == 0 {
		return nil, fmt.Errorf("a dump without a trigger: %v", err)
	}
	time.Sleep(5 * time.Millisecond) // the beating thread must have come back
	gaps, err := v.ask("gaps")
	if err != nil {
		return nil, err
	}
	stop, ok := stopOf(gaps, trigger[0].Time.UnixNano(), complete[0].Time.UnixNano())
	if !ok {
		return nil, fmt.Errorf("the beating thread saw no stop")
	}
	return []reading{cost(between(crossed["at"], stop)), cost(between(crossed["at"], complete[0].Time.UnixNano()))}, nil
}

// stopOf finds in a victim's gaps the one that fills most of the time from the
// trigger to the end of the dump, and returns its begin. Others are the
// machine's.
func stopOf(gaps map[string]int64, from, to int64) (at int64, ok bool) {
	most := int64(0)
	for i := 0; ; i++ {
		start, there := gaps[fmt.Sprintf("at%d", i)]
		if !there {
			return at, ok
		}
		end := start + gaps[fmt.Sprintf("us%d", i)]*1000
		if common := min(end, to) - max(start, from); common > most {
			most, at, ok = common, start, true
		}
	}
}

// watchFault lets processes die of SIGSEGV.
func watchFault(b *bench) (*watch, error) {
	alone := &watchRow{who: nameNobody, figure: "fault to gone"}
	gone := &watchRow{who: nameFaultMini, figure: alone.figure, base: alone}
	noticed := &watchRow{who: nameFaultMini, figure: "fault to trigger"}
	complete := &watchRow{who: nameFaultMini, figure: "fault to dump complete"}
	times := func(n int, once func() ([]reading, error)) ([]reading, error) {
		all := make([]reading, n)
		for i := range all {
			all[i] = cost()
		}
		for range faultsInTurn {
			readings, err := once()
			if err != nil {
				return nil, err
			}
			for i, r := range readings {
				all[i].micros = append(all[i].micros, r.micros...)
			}
		}
		return all, nil
	}
	return &watch{turns: []turn{
		{rows: []*watchRow{alone}, run: func() ([]reading, error) {
			return times(1, func() ([]reading, error) {
				v, _, err := startAsked(b.actor)
				if err != nil {
					return nil, err
				}
				defer v.stop()
				at, end, err := v.die()
				return []reading{cost(between(at, end))}, err
			})
		}},
		{rows: []*watchRow{noticed, complete, gone}, run: func() ([]reading, error) {
			return times(3, func() ([]reading, error) { return b.inFolder(b.fault) })
		}},
	}}, nil
}

// fault is one death under procdump.
func (b *bench) fault(dir string) ([]reading, error) {
	v, _, err := startAsked(b.actor)
	if err != nil {
		return nil, err
	}
	defer v.stop()
	f, err := b.follow(1, "-e", "-mm", strconv.Itoa(v.pid), dir)
	if err != nil {
		return nil, err
	}
	defer f.end()
	if err := waitTraced(v.pid); err != nil {
		return nil, err
	}
	at, end, err := v.die()
	if err != nil {
		return nil, err
	}
	readings := []reading{{}, {}, cost(between(at, end))}
	for i, kind := range []string{"trigger", "complete"} {
		if err := f.wait(kind, 1); err != nil {
			return nil, err
		}
		list, err := f.events(kind)
		if err != nil {
			return nil, err
		}
		readings[i] = cost(between(at, list[0].Time.UnixNano()))
	}
	return readings, nil
}
