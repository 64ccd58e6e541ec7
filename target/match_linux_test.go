package target

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func selector(t testing.TB, text string) Selector {
	t.Helper()
	s, err := ParseSelector(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// matches gives the PIDs of a fixture that Match takes, as text.
func (f *fixture) matches(text string) string {
	f.t.Helper()
	pids, err := numbers(string(f.FS))
	if err != nil {
		f.t.Fatal(err)
	}
	var found []string
	for pid := 1; pid < 5000; pid++ {
		for _, p := range pids {
			if p != pid {
				continue
			}
			if got, ok := f.Matcher(selector(f.t, text)).Match(pid); ok {
				if got.PID != pid {
					f.t.Errorf("%s: process %+v for PID %d", text, got, pid)
				}
				found = append(found, fmt.Sprint(pid))
			}
		}
	}
	return strings.Join(found, " ")
}

// Match takes what Find finds; of a name also what matches less well than
// another process.
func TestMatchIsFind(t *testing.T) {
	f := named(t)
	f.process(120, "x", "/opt/web/x", "x")
	pids, err := numbers(string(f.FS))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if s, ok := f.FS.stat(pid); ok {
			f.write(fmt.Sprintf("proc/%d/comm", pid), s.comm+"\n")
		}
	}
	for _, text := range []string{
		"nginx", "NGINX", "renamed", "averyveryverylongname", "averyveryverylo", "python3", "python3.11", "job.py", "job",
		"averylongscriptname.sh", "sshd", "my app", "Note.exe", "note", "bash.exe", "my) S 1 (x", "shop.jar", "gone",
		"procdump", "pts", "nobody", "name:nginx,cmd:worker", "name:bash,cmd:script", "cmd:^python3 -u", "exe:/opt/gone",
		"/usr/bin/less", "pgid:70,cmd:job", "50", "pid:113", "pid:100,name:nginx", "pid:101,name:nginx", "tree:103", "pgid:71", "exe:/nowhere",
	} {
		want := f.find(text)
		if strings.HasPrefix(want, "no process") {
			want = ""
		}
		if got := f.matches(text); got != want {
			t.Errorf("%s: Match takes %q, Find finds %q", text, got, want)
		}
	}
	for _, text := range []string{"server.bin", "Server"} {
		if got := f.matches(text); got != "101 105" {
			t.Errorf("%s: %s", text, got)
		}
	}
	// Zombies are for Find only.
	if got := f.matches("lonely"); got != "" {
		t.Errorf("lonely: %s", got)
	}
	var none Selector
	if _, ok := none.Match(os.Getpid()); ok {
		t.Error("the zero Selector matches")
	}
}

func TestMatchOthers(t *testing.T) {
	f := newFixture(t)
	for pid, ppid := range map[int]int{100: 1, 101: 100, 102: 101, 103: 1, 105: 106, 106: 105} {
		f.process(pid, "p", "/p", "p")
		f.stat(pid, "p", "S", ppid, 0, 1)
	}
	f.status(101, "Uid:\t0\t12345\t0\t0\n")
	f.write("proc/102/cgroup", groups[100])
	f.write("proc/103/cgroup", groups[104])
	f.write("proc/103/net/tcp", "head\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000 100 0 0 10 0\n")
	f.link("proc/103/fd/3", "socket:[11]")
	for text, want := range map[string]string{
		"tree:100": "100 101 102", "tree:102": "102", "tree:105": "105 106", "tree:999": "", "user:12345": "101",
		"unit:nginx": "102", "container:4f5e": "103", "cgroup:/system.slice": "102 103", "port:8080": "103", "tree:100,user:12345": "101",
	} {
		if got := f.matches(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// A Matcher that has seen a good match takes no worse one.
func TestMatcherRemembers(t *testing.T) {
	f := named(t)
	f.process(121, "sh", "/bin/sh", "/bin/sh", "/etc/init.d/nginx")
	s := selector(t, "nginx")
	if _, ok := f.Matcher(s).Match(121); !ok {
		t.Error("a script is not matched when there is nothing better")
	}
	m := f.Matcher(s)
	if found, err := m.Find(); err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if _, ok := m.Match(121); ok {
		t.Error("a script is matched though a program has the name")
	}
	f.process(122, "nginx", "/usr/sbin/nginx", "nginx")
	if p, ok := m.Match(122); !ok || p.Exe != "/usr/sbin/nginx" || p.Start.IsZero() || p.User == "" || p.PPID != 1 {
		t.Errorf("%+v, %v", p, ok)
	}
	m = f.Matcher(s)
	if _, ok := m.Match(100); !ok {
		t.Error("no match")
	}
	if _, ok := m.Match(121); ok {
		t.Error("a worse match after a better one")
	}
}

func TestMatchReal(t *testing.T) {
	name := unique("mtc") + "withalongname"
	path := program(t, name)
	v := startProgram(t, path, "wait", nil, "one")
	for text, want := range map[string]bool{
		name: true, name[:15]: true, strings.ToUpper(name): true, path: true, "cmd:" + name + " one": true, "cmd:nothing": false,
		fmt.Sprintf("pgid:%d", syscall.Getpgrp()): true, fmt.Sprintf("tree:%d", os.Getpid()): true, fmt.Sprintf("user:%d", os.Geteuid()): true,
		"port:1": false, "container:0123456789ab": false, fmt.Sprint(v.pid()): true, fmt.Sprint(os.Getpid()): false, "exe:/bin/true": false,
		"name:" + name + ",cmd:one": true, "name:" + name + ",cmd:other": false,
	} {
		p, ok := selector(t, text).Match(v.pid())
		if ok != want {
			t.Errorf("%s: %v", text, ok)
		}
		if ok && (p.PID != v.pid() || p.Name != name || p.Exe != path || p.PPID != os.Getpid() || time.Since(p.Start) > time.Hour) {
			t.Errorf("%s: %+v", text, p)
		}
	}
	// A link to the program.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, ok := selector(t, link).Match(v.pid()); !ok {
		t.Error("not matched by a link to the program")
	}
	if _, ok := selector(t, "exe:"+fmt.Sprintf("/proc/%d/exe", os.Getpid())).Match(v.pid()); ok != (exeOf(t, os.Getpid()) == path) {
		t.Error("matched by a link to another program")
	}
}

func exeOf(t *testing.T, pid int) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// Script and first thread's end, as Find has them.
func TestMatchScriptAndLeaderless(t *testing.T) {
	name := unique("scr")
	path := filepath.Join(t.TempDir(), name+".sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nsleep 60 & wait\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	pid := runProgram(t, path)
	eventually(t, "match of a script", func() bool {
		_, ok := selector(t, name).Match(pid)
		return ok
	})
	name = unique("nolead")
	v := startProgram(t, program(t, name), "leaderless", nil)
	eventually(t, "state Z", func() bool {
		s, _ := Proc.stat(v.pid())
		return s.state == 'Z'
	})
	if p, ok := selector(t, name).Match(v.pid()); !ok || p.Zombie {
		t.Errorf("without first thread: %+v, %v", p, ok)
	}
}

// What vanishes while it is looked at is no match and no failure.
func TestMatchVanishing(t *testing.T) {
	m := selector(t, "name:true,cmd:.").Matcher()
	matched := 0
	for range 200 {
		c := exec.Command("true")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Wait()
		}()
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			p, ok := m.Match(c.Process.Pid)
			if ok && (p.PID != c.Process.Pid || p.Zombie) {
				t.Errorf("%+v", p)
			}
			if ok {
				matched++
			}
		}
		if _, ok := m.Match(c.Process.Pid); ok {
			t.Error("a process that has ended matches")
		}
	}
	t.Logf("%d matches", matched)
}

func TestChildren(t *testing.T) {
	f := newFixture(t)
	for pid, ppid := range map[int]int{100: 1, 101: 100, 102: 101, 103: 1, 104: 100} {
		f.process(pid, "p", "/p", "p")
		f.stat(pid, "p", "S", ppid, 0, 1)
		f.write(fmt.Sprintf("proc/%d/task/%d/stat", pid, pid), "")
	}
	if got := fmt.Sprint(f.Children(100)); got != "[101 102 104]" {
		t.Errorf("by parents: %s", got)
	}
	for pid, children := range map[int]string{100: "101 ", 101: "102 ", 102: "", 103: "", 104: ""} {
		f.write(fmt.Sprintf("proc/%d/task/%d/children", pid, pid), children)
	}
	f.write("proc/100/task/110/children", "104 ") // forked by another thread
	if got := fmt.Sprint(f.Children(100)); got != "[101 102 104]" {
		t.Errorf("by lists: %s", got)
	}
	f.write("proc/102/task/102/children", "101 ") // a circle
	if got := fmt.Sprint(f.Children(100)); got != "[101 102 104]" {
		t.Errorf("in a circle: %s", got)
	}
	if got := f.Children(999); len(got) != 0 {
		t.Errorf("of nobody: %v", got)
	}
}

func TestChildrenReal(t *testing.T) {
	pid := runProgram(t, "/bin/sh", "-c", "sleep 60 & (sleep 60; true) & wait")
	var both [2]string
	eventually(t, "four processes", func() bool {
		in := map[int]bool{}
		Proc.descendByParents(pid, in)
		got := Children(pid)
		both = [2]string{fmt.Sprint(got), fmt.Sprint(len(in))}
		return len(got) == 3 && len(in) == 3
	})
	for _, child := range Children(pid) {
		if !Proc.descends(&Process{PID: child, PPID: parentOf(t, child)}, pid) {
			t.Errorf("%d of %v", child, both)
		}
	}
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	s, ok := Proc.stat(pid)
	if !ok {
		t.Fatalf("no process %d", pid)
	}
	return s.ppid
}

func BenchmarkMatch(b *testing.B) {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { c.Process.Kill(); c.Wait() }()
	time.Sleep(50 * time.Millisecond)
	for _, text := range []string{"other", "sleep", "exe:/bin/other", "cmd:other"} {
		m := selector(b, text).Matcher()
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				m.Match(c.Process.Pid)
			}
		})
	}
	s := selector(b, "other")
	b.Run("without Matcher", func(b *testing.B) {
		for b.Loop() {
			s.Match(c.Process.Pid)
		}
	})
}
