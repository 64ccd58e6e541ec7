package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// kernelResult is a result in which each tool took so many milliseconds.
func kernelResult(ms map[string]int) *result {
	r := &result{name: caseKernel}
	for tool, n := range ms {
		x := &row{tool: tool}
		for i := range 3 {
			x.samples = append(x.samples, sample{wall: time.Duration(n+10*i) * time.Millisecond, rss: 20 << 20, disk: 40 << 20})
		}
		r.kernel = append(r.kernel, x)
	}
	return r
}

func TestJudgeKernel(t *testing.T) {
	states := func(r *result) string {
		var b strings.Builder
		for _, v := range judgeKernel(r) {
			b.WriteString(v.state + " ")
		}
		return b.String()
	}
	if got := states(nil); got != "- - - - " {
		t.Errorf("nothing ran: %s", got)
	}
	ms := map[string]int{nameKernelLZO: 100, nameKernelZstd: 69, nameCompleteLZO: 1000, nameCompleteSnappy: 790}
	if got := states(kernelResult(ms)); got != "PASS PASS PASS PASS " {
		t.Errorf("all is well: %s", got)
	}
	ms[nameKernelZstd], ms[nameCompleteSnappy] = 71, 810
	r := kernelResult(ms)
	if got := states(r); got != "FAIL PASS FAIL PASS " {
		t.Errorf("too slow: %s", got)
	}
	// A makedumpfile that has zstd is the better one to compare with.
	ms[namePeerZstd] = 200
	if got := states(kernelResult(ms)); got != "PASS PASS FAIL PASS " {
		t.Errorf("with zstd: %s", got)
	}
	r.kernelRow(nameKernelZstd).samples[1].rss = 65 << 20
	if got := states(r); got != "FAIL PASS FAIL FAIL " {
		t.Errorf("too large: %s", got)
	}
	var b strings.Builder
	r.kernelRow(nameCompleteLZO).samples[0].err = errors.New("no room")
	if err := writeKernelTable(&b, []*result{r}); err != nil || !strings.Contains(b.String(), "0.71") || !strings.Contains(b.String(), "kernel, makedumpfile -l -d 0: no room\n") {
		t.Errorf("%v\n%s", err, &b)
	}
	if got := states(&result{name: caseKernel}); !strings.HasSuffix(got, "- ") {
		t.Errorf("no tool took part: %s", got)
	}
}
