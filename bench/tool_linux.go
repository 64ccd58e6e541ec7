package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tool is a contestant.
type tool struct {
	name string
	// dump dumps the victim into a new file of dir.
	dump func(b *bench, v *victim, dir string) sample
	// noFile: there is no file to look at.
	noFile bool
	// leastShare: the file has at least this fraction of the victim's memory;
	// anything less is a failure however fast it was.
	leastShare int64
}

var (
	toolLimit = limitTool(nameLimit, limitPlain)
	toolEarly = limitTool(nameEarly, limitEarly)
	toolTwo   = limitTool(nameTwo, limitTwo)

	toolGcore = tool{name: nameGcore, dump: func(b *bench, v *victim, dir string) sample {
		s, _ := command("gcore", "-o", filepath.Join(dir, "core"), strconv.Itoa(v.pid))
		return s
	}, leastShare: 1}

	toolGcoreZstd = tool{name: "gcore, zstd -1", dump: func(b *bench, v *victim, dir string) sample {
		core := filepath.Join(dir, "core")
		s, _ := command("sh", "-c", `gcore -o "$1" "$2" && zstd -q -1 -T2 --rm "$1.$2"`, "sh", core, strconv.Itoa(v.pid))
		return s
	}, leastShare: 8}

	toolKernel = tool{name: nameKernel, dump: kernelCore, leastShare: 1}

	toolProcdump = procdumpTool(nameProcdump, 1, "stop-and-copy", "-ma", "-r", "0")
	toolPacked   = procdumpTool(namePacked, 8, "stop-and-copy", "-ma", "-z", "-r", "0")
	toolClone    = procdumpTool(nameClone, 1, "clone", "-ma", "-r", "1")
	toolLive     = procdumpTool(nameLive, 1, "pre-copy", "-ma", "-r", "live")
	toolMini     = procdumpTool(nameMini, 1<<40, "stop-and-copy", "-mm")

	// toolFork forks the victim, which measures: what a clone costs at least.
	toolFork = tool{name: nameFork, dump: func(_ *bench, v *victim, _ string) sample {
		a, err := v.ask("fork")
		if err == nil && a["us"] < 0 {
			err = errors.New("fork failed")
		}
		return sample{wall: -1, flush: -1, cpu: -1, rss: -1, own: time.Duration(a["us"]) * time.Microsecond, disk: -1, err: err}
	}, noFile: true}

	// toolIdle dumps nothing, as long as a mini dump may take: what the beating
	// thread misses then is the machine's noise. In a longer time it is no less.
	toolIdle = tool{name: nameIdle, dump: func(*bench, *victim, string) sample {
		time.Sleep(100 * time.Millisecond)
		return sample{wall: -1, flush: -1, cpu: -1, rss: -1, own: -1, disk: -1}
	}, noFile: true}
)

// kernelCore makes the kernel dump a forked copy of the victim. The victim
// measures, from the signal to the copy's end.
func kernelCore(b *bench, v *victim, dir string) sample {
	pattern, err := setCorePattern(b.self, filepath.Join(dir, "core.%p"))
	if err != nil {
		return sample{err: err}
	}
	a, err := v.ask("crash")
	if err = errors.Join(err, pattern.restore()); err != nil {
		return sample{err: err}
	}
	if a["core"] != 1 {
		return sample{err: errors.New("no core was written")}
	}
	// The process is gone afterwards: there is no pause to speak of, and no
	// memory of a program.
	return sample{wall: time.Duration(a["us"]) * time.Microsecond, cpu: time.Duration(a["cpu"]) * time.Microsecond, rss: -1, own: -1, seen: -1}
}

func limitTool(name, how string) tool {
	return tool{name: name, dump: func(b *bench, v *victim, dir string) sample {
		s, _ := command(b.self, childFlag, "limit", strconv.Itoa(v.pid), strconv.FormatUint(v.addr, 10),
			strconv.FormatInt(v.size, 10), filepath.Join(dir, "memory"), how)
		return s
	}, leastShare: 1}
}

// procdumpTool is procdump with some switches; a dump that it took by another
// method than theirs is a failure.
func procdumpTool(name string, leastShare int64, method string, switches ...string) tool {
	return tool{name: name, leastShare: leastShare, dump: func(b *bench, v *victim, dir string) sample {
		argv := append([]string{b.procdump, "-json", "-o"}, switches...)
		s, out := command(append(argv, strconv.Itoa(v.pid), filepath.Join(dir, "dump.core"))...)
		if s.err == nil {
			s.own, s.err = pauseOf(out, method)
		}
		return s
	}}
}

// pauseOf finds the target's pause in procdump's JSON events, of a dump that was
// taken by a method.
func pauseOf(events, method string) (time.Duration, error) {
	d := json.NewDecoder(strings.NewReader(events))
	for d.More() {
		var e struct {
			Event       string
			PauseMicros *int64
			Method      string
		}
		if err := d.Decode(&e); err != nil {
			return 0, fmt.Errorf("read events: %w", err)
		}
		if e.Event == "complete" && e.PauseMicros != nil && *e.PauseMicros >= 0 {
			if e.Method != method {
				return 0, fmt.Errorf("the dump was taken by %s, not by %s", e.Method, method)
			}
			return time.Duration(*e.PauseMicros) * time.Microsecond, nil
		}
	}
	return 0, errors.New("no pause in procdump's events")
}

// missing tells why a tool cannot run here, or returns nil.
func (t tool) missing() error {
	var programs []string
	switch t.name {
	case nameGcore:
		programs = []string{"gcore"}
	case toolGcoreZstd.name:
		programs = []string{"gcore", "zstd"}
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return err
		}
	}
	return nil
}
