package target

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// Parent gives the parent of a process; 0: it is not known, or there is none.
func Parent(pid int) int {
	s, _ := Proc.stat(pid)
	return s.ppid
}

// Children gives all present descendants of a process, by ascending PID. What
// one of them starts meanwhile may be missing: who wants the future ones too
// begins to listen for forks first.
func Children(pid int) []int { return Proc.Children(pid) }

// Children gives the descendants in fs.
func (fs FS) Children(pid int) []int {
	in := map[int]bool{}
	// One that ends while its siblings are read makes the kernel skip some of
	// them (proc_pid_tid_children(5)), and one that forks is read too early:
	// another round finds them.
	const rounds = 5
	for range rounds {
		before := len(in)
		if !fs.descend(pid, in) {
			fs.descendByParents(pid, in)
			break
		}
		if len(in) == before {
			break
		}
	}
	delete(in, pid)
	pids := make([]int, 0, len(in))
	for child := range in {
		pids = append(pids, child)
	}
	slices.Sort(pids)
	return pids
}

// descend adds the descendants of pid to in by the kernel's lists of children.
// Without those (CONFIG_PROC_CHILDREN) it returns false.
func (fs FS) descend(pid int, in map[int]bool) bool {
	seen := map[int]bool{pid: true}
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		parent := todo[0]
		threads, _ := numbers(fs.of(parent, "task"))
		for _, tid := range threads {
			b, err := readFile(fs.of(parent, "task", strconv.Itoa(tid), "children"))
			if os.IsNotExist(err) && fs.threadExists(parent, tid) {
				return false
			}
			for field := range strings.FieldsSeq(string(b)) {
				child, err := strconv.Atoi(field)
				if err == nil && !seen[child] {
					seen[child], in[child] = true, true
					todo = append(todo, child)
				}
			}
		}
	}
	return true
}

func (fs FS) threadExists(pid, tid int) bool {
	_, err := os.Stat(fs.of(pid, "task", strconv.Itoa(tid), "stat"))
	return err == nil
}

// descendByParents adds the descendants of pid by asking each process for its
// parent.
func (fs FS) descendByParents(pid int, in map[int]bool) {
	children := map[int][]int{}
	pids, _ := numbers(string(fs))
	for _, p := range pids {
		if s, ok := fs.stat(p); ok {
			children[s.ppid] = append(children[s.ppid], p)
		}
	}
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		for _, child := range children[todo[0]] {
			if child != pid && !in[child] {
				in[child] = true
				todo = append(todo, child)
			}
		}
	}
}
