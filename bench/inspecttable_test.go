package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// readersResult is a result in which each tool took so many milliseconds and MiB.
func readersResult(name string, tools map[string][2]int) *result {
	r := &result{name: name}
	for tool, n := range tools {
		x := &row{tool: tool}
		for i := range 3 {
			x.samples = append(x.samples, sample{wall: time.Duration(n[0]+10*i) * time.Millisecond, rss: int64(n[1]) << 20})
		}
		r.readers = append(r.readers, x)
	}
	return r
}

func TestJudgeInspect(t *testing.T) {
	states := func(all ...*result) string {
		byName := map[string]*result{}
		for _, r := range all {
			byName[r.name] = r
		}
		var b strings.Builder
		for _, v := range judgeInspect(byName) {
			b.WriteString(v.state + " ")
		}
		return b.String()
	}
	if got := states(); got != "- - - - " {
		t.Errorf("nothing ran: %s", got)
	}
	one := readersResult(caseInspect, map[string][2]int{nameInspect: {290, 150}, nameGDBOne: {590, 60}})
	all := readersResult(caseInspectAll, map[string][2]int{nameInspectAll: {1990, 100}, nameGDBAll: {990, 60}})
	if got := states(one, all); got != "PASS PASS PASS PASS " {
		t.Errorf("all is well: %s", got)
	}
	if v := judgeInspect(map[string]*result{caseInspect: one}); v[0].figure != "300 ms; 0.50 × gdb's" {
		t.Errorf("%q", v[0].figure)
	}
	slow := readersResult(caseInspect, map[string][2]int{nameInspect: {291, 149}})
	slow.reader(nameInspect).samples[1].rss = 151 << 20
	if got := states(slow, all); got != "FAIL FAIL PASS PASS " {
		t.Errorf("too slow and too large: %s", got)
	}
	all.reader(nameInspectAll).samples[0].err = errors.New("no stacks")
	if got := states(one, all); got != "PASS PASS FAIL FAIL " {
		t.Errorf("it failed: %s", got)
	}
	var b strings.Builder
	if err := writeInspectTable(&b, []*result{one, all}); err != nil || !strings.Contains(b.String(), "0.50") || !strings.Contains(b.String(), "no stacks") {
		t.Errorf("%v\n%s", err, &b)
	}
}
