package target

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixture is a machine made of files: folders proc and sys.
type fixture struct {
	t    *testing.T
	root string
	FS
}

const ownPID = 50 // procdump in a fixture

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, root: t.TempDir()}
	f.FS = FS(filepath.Join(f.root, "proc"))
	f.write("proc/stat", "cpu  1 2 3\nbtime 1700000000\nprocesses 5\n")
	f.link("proc/self", "50")
	f.process(ownPID, "procdump", "/usr/bin/procdump", "procdump", "x")
	return f
}

func (f *fixture) write(path, text string) {
	f.t.Helper()
	path = filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) link(path, to string) {
	f.t.Helper()
	path = filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		f.t.Fatal(err)
	}
}

// process makes one with parent 1, process group 70 and the uid of who runs
// the test (owner of the files: see dumpable).
func (f *fixture) process(pid int, comm, exe string, args ...string) {
	f.t.Helper()
	dir := fmt.Sprintf("proc/%d/", pid)
	f.stat(pid, comm, "S", 1, 0, 2)
	f.status(pid, "")
	f.write(dir+"cmdline", strings.Join(args, "\x00")+"\x00")
	if exe != "" {
		f.link(dir+"exe", exe)
	}
	f.link(dir+"ns/user", "user:[4026531837]")
	f.link(dir+"ns/net", "net:[1]")
	f.write(dir+"uid_map", "         0          0 4294967295\n")
}

func (f *fixture) stat(pid int, comm, state string, ppid, flags, threads int) {
	f.write(fmt.Sprintf("proc/%d/stat", pid), fmt.Sprintf(
		"%d (%s) %s %d 70 70 0 -1 %d 1 2 3 4 150 50 0 0 20 0 %d 0 1000 4096 10 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 256\n",
		pid, comm, state, ppid, flags, threads))
}

// status writes a status file; lines of extra replace those of the same name.
func (f *fixture) status(pid int, extra string) {
	uid, gid := os.Getuid(), os.Getgid()
	ids := func(n int) string { return strings.Repeat(fmt.Sprintf("\t%d", n), 4) }
	text := fmt.Sprintf("Tgid:\t%d\nPPid:\t1\nTracerPid:\t0\nUid:%s\nGid:%s\nNSpid:\t%d\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n",
		pid, ids(uid), ids(gid), pid)
	for line := range strings.Lines(extra) {
		name, _, _ := strings.Cut(line, ":")
		i := strings.Index(text, name+":")
		if i < 0 {
			f.t.Fatalf("no line %s", name)
		}
		end := i + strings.IndexByte(text[i:], '\n') + 1
		text = text[:i] + strings.TrimSuffix(line, "\n") + "\n" + text[end:]
	}
	f.write(fmt.Sprintf("proc/%d/status", pid), text)
}

// find gives the PIDs that a selector means, as text.
func (f *fixture) find(selector string) string {
	f.t.Helper()
	s, err := ParseSelector(selector)
	if err != nil {
		f.t.Fatal(err)
	}
	ps, err := f.Find(s)
	if err != nil {
		return err.Error()
	}
	var pids []string
	for _, p := range ps {
		pids = append(pids, fmt.Sprint(p.PID))
	}
	return strings.Join(pids, " ")
}

func (f *fixture) expect(selector, want string) {
	f.t.Helper()
	if got := f.find(selector); got != want {
		f.t.Errorf("%s: found %s, want %s", selector, got, want)
	}
}

// named makes processes of many names.
func named(t *testing.T) *fixture {
	f := newFixture(t)
	f.process(100, "nginx", "/usr/sbin/nginx", "nginx: worker process")
	f.process(101, "renamed", "/opt/app/Server.bin", "/opt/app/Server.bin", "-v")
	f.process(102, "averyveryverylo", "/opt/averyveryverylongname", "averyveryverylongname")
	f.process(103, "python3", "/usr/bin/python3.11", "python3", "-u", "/srv/job.py", "nginx")
	f.process(104, "averylongscript", "/usr/bin/bash", "/bin/bash", "./averylongscriptname.sh", "x")
	f.process(105, "SERVER.BIN", "/opt/other", "other")
	f.process(106, "bash", "/usr/bin/bash", "-bash")
	f.process(107, "sshd", "", "sshd: bob@pts/0")
	f.process(108, "app", "/opt/My App/bin/my app", "/opt/My App/bin/my app", "x")
	f.process(109, "wine64-preloade", "/usr/lib/wine64-preloader", `C:\Program Files\Note.exe`, "x")
	f.process(110, "less", "/usr/bin/less", "less", "job.py")
	f.process(111, "my) S 1 (x", "/opt/odd", "odd")
	f.process(112, "java", "/usr/lib/jvm/bin/java", "java", "-jar", "/srv/shop.jar")
	f.process(113, "nginx", "")
	f.stat(113, "nginx", "S", 2, 0x00200000, 1) // kernel thread
	f.process(114, "nginx", "")
	f.stat(114, "nginx", "Z", 1, 0, 1)
	f.process(115, "lonely", "")
	f.stat(115, "lonely", "Z", 1, 0, 1)
	f.process(116, "deleted", "/opt/gone (deleted)", "x")
	return f
}

func TestNames(t *testing.T) {
	f := named(t)
	f.expect("nginx", "100")
	f.expect("NGINX", "100")
	f.expect("server.bin", "101 105") // no exact match, two in other case
	f.expect("Server", "101")
	f.expect("SERVER.BIN", "105")
	f.expect("renamed", "101")
	f.expect("averyveryverylongname", "102")
	f.expect("averyveryverylo", "102")
	f.expect("python3", "103")
	f.expect("python3.11", "103")
	f.expect("job.py", "103")
	f.expect("job", "103")
	f.expect("JOB.py", "103")
	f.expect("averylongscriptname.sh", "104")
	f.expect("averylongscriptname", "104")
	f.expect("bash", "104 106")
	f.expect("sshd", "107")
	f.expect("my app", "108")
	f.expect("Note.exe", "109")
	f.expect("note", "109")
	f.expect("bash.exe", "104 106")
	f.expect("my) S 1 (x", "111")
	f.expect("shop.jar", "112")
	f.expect("lonely", "115")
	f.expect("gone", "116")
	f.expect("50", "50")
	f.expect("pid:113", "113")
	f.expect("procdump", "no process matches procdump; ps -e shows what runs")
	f.expect("pts", "no process matches pts; ps -e shows what runs")
	f.expect("name:nginx,cmd:worker", "100")
	f.expect("name:bash,cmd:script", "104")
	f.expect("name:Server.bin,cmd:^other", "105") // best among those for which the rest holds
	f.expect("cmd:^python3 -u", "103")
	f.expect("exe:/opt/gone", "116")
	f.expect("/usr/bin/less", "110")
	f.expect("pgid:70,cmd:job", "103 110")

}

func TestProcess(t *testing.T) {
	f := named(t)
	p, err := f.Get(102)
	if err != nil || p.Name != "averyveryverylongname" || p.Exe != "/opt/averyveryverylongname" || p.Threads != 2 ||
		p.CPU.Seconds() != 2 || p.Start.Unix() != 1700000010 || p.State != 'S' || p.RSS != 10*uint64(os.Getpagesize()) {
		t.Errorf("process: %+v, %v", p, err)
	}
	if p, _ := f.Get(116); !p.ExeDeleted {
		t.Error("deleted image not noticed")
	}
	if p, _ := f.Get(104); p.Name != "averylongscriptname.sh" {
		t.Errorf("name of a script: %s", p.Name)
	}
}

func TestTree(t *testing.T) {
	f := newFixture(t)
	for pid, ppid := range map[int]int{100: 1, 101: 100, 102: 101, 103: 1, 104: 100, 105: 106, 106: 105} {
		f.process(pid, "p", "/p", "p")
		f.stat(pid, "p", "S", ppid, 0, 1)
	}
	f.stat(ownPID, "procdump", "S", 100, 0, 1)
	f.expect("tree:100", "100 101 102 104")
	f.expect("tree:102", "102")
	f.expect("tree:105", "105 106") // a circle, as a reused PID makes
	f.expect("tree:999", "no process matches PID 999")
}

func TestUser(t *testing.T) {
	f := newFixture(t)
	f.process(100, "p", "/p", "p")
	f.process(101, "p", "/p", "p")
	f.status(101, "Uid:\t0\t12345\t0\t0\n")
	f.expect("user:12345", "101")
	f.expect(fmt.Sprintf("user:%d,name:p", os.Getuid()), "100")
	f.expect("user:12346", "no process matches user:12346; ps -e shows what runs")
}

const id64 = "4f5e9a7b3c2d1e0f4f5e9a7b3c2d1e0f4f5e9a7b3c2d1e0f4f5e9a7b3c2d1e0f"

// groups are the cgroup files of processes 100, ….
var groups = map[int]string{
	100: "0::/system.slice/nginx.service\n",
	101: "12:pids:/system.slice/cron.service\n1:name=systemd:/system.slice/cron.service\n0::/\n",
	102: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service/sub\n",
	103: "4:memory:/other.service\n0::/\n",
	104: "0::/system.slice/docker-" + id64 + ".scope\n",
	105: "3:cpu:/docker/a" + id64[1:] + "\n",
	106: "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice/cri-containerd-b" + id64[1:] + ".scope\n",
	107: "0::/machine.slice/libpod-c" + id64[1:] + ".scope/container\n",
	108: "0::/machine.slice/libpod-conmon-c" + id64[1:] + ".scope\n",
	109: "0::/kubepods/besteffort/podfedcba98-89ab-cdef-0123-456789abcdef/d" + id64[1:] + "\n",
	110: "0::/system.slice/crio-e" + id64[1:] + ".scope (deleted)\n",
	111: "0::/system.slice:cri-containerd:01" + id64[2:] + "\n",
	112: "0::/\n",
	113: "0::/\n",
	114: "0::/ecs/0123456789abcdef0123456789abcdef/fedcba9876543210fedcba9876543210-123\n",
	115: "0::/\n",
}

func TestControlGroups(t *testing.T) {
	f := newFixture(t)
	for pid, text := range groups {
		f.process(pid, "p", "/p", "p")
		f.write(fmt.Sprintf("proc/%d/cgroup", pid), text)
	}
	f.write("proc/112/mountinfo", "711 700 254:1 /var/lib/docker/containers/02"+id64[2:]+"/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw\n")
	f.write("proc/113/mountinfo", "711 700 0:52 / /var/lib/docker/containers/02"+id64[2:]+"/mounts/shm rw - tmpfs shm rw\n")
	f.write("proc/115/cpuset", "/docker/03"+id64[2:]+"\n")

	for _, tt := range [][2]string{
		{"unit:nginx", "100"}, {"unit:nginx.service", "100"}, {"unit:cron", "101"}, {"unit:editor", "102"},
		{"unit:user@1000", "102"}, {"unit:user.slice", "102"},
		{"unit:other", "no process matches unit:other; ps -e shows what runs"},
		{"unit:ngin", "no process matches unit:ngin; ps -e shows what runs"},
		{"cgroup:/system.slice/nginx.service", "100"}, {"cgroup:user.slice", "102"}, {"cgroup:/user.slice/", "102"},
		{"cgroup:/sys/fs/cgroup/user.slice", "102"}, {"cgroup:/sys/fs/cgroup/pids/system.slice", "101"},
		{"cgroup:/sys/fs/cgroup/memory/other.service", "103"},
		{"cgroup:/sys/fs/cgroup/cpu/system.slice", "no process matches cgroup:/sys/fs/cgroup/cpu/system.slice; ps -e shows what runs"},
		{"cgroup:/user", "no process matches cgroup:/user; ps -e shows what runs"},
		{"container:" + id64, "104"}, {"container:4f5e", "104"}, {"container:4F5E9A7B3C2D", "104"}, {"container:af5e9", "105"},
		{"container:bf5e9", "106"}, {"container:cf5e9", "107"}, {"container:df5e9", "109"}, {"container:ef5e9", "110"},
		{"container:015e9a", "111"}, {"container:025e9a", "112"}, {"container:035e9a", "115"},
		{"container:01234567-89ab-cdef", "106"}, {"container:fedcba98-", "109"}, {"container:fedcba9876", "114"},
		{"container:5e9a7b", "no process matches container:5e9a7b; ps -e shows what runs"},
		{"container:cf5e9,name:p", "107"},
	} {
		f.expect(tt[0], tt[1])
	}
}

func TestInsideContainer(t *testing.T) {
	f := newFixture(t)
	f.process(4711, "web", "/srv/web", "web")
	f.status(4711, "NSpid:\t4711\t7\n")
	f.process(4712, "db", "/srv/db", "db")
	f.status(4712, "NSpid:\t4712\t12\t7\n")
	f.process(4713, "other", "/srv/other", "other")
	f.status(4713, "NSpid:\t4713\t7\t9\n")
	want := "no process matches PID 7; PID 7 of a container is PID 4711 here (web); PID 7 of a container is PID 4712 here (db)"
	f.expect("7", want)
	if err := f.ExplainDenied(7); err == nil || err.Error() != want {
		t.Errorf("explain: %v", err)
	}
	// A thread: its folder exists though it is not listed.
	f.process(4720, "thread", "/srv/web", "web")
	f.status(4720, "Tgid:\t4711\n")
	f.expect("4720", "no process matches PID 4720: it is a thread of web (4711); dump that: procdump 4711")
}

func TestPortTable(t *testing.T) {
	f := newFixture(t)
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	line := func(port int, state, inode string) string {
		return fmt.Sprintf("   0: 0100007F:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000     0        0 %s 1 0000 100 0 0 10 0\n", port, state, inode)
	}
	for pid := 100; pid < 106; pid++ {
		f.process(pid, "p", "/p", "p")
		f.write(fmt.Sprintf("proc/%d/net/tcp", pid), head+line(8080, "0A", "11")+line(8080, "01", "12")+line(9090, "01", "13"))
		f.write(fmt.Sprintf("proc/%d/net/udp6", pid), head+line(53, "07", "14")+line(53, "01", "15"))
	}
	f.link("proc/100/fd/3", "socket:[11]")
	f.link("proc/101/fd/3", "socket:[12]")
	f.link("proc/102/fd/3", "socket:[13]")
	f.link("proc/103/fd/4", "socket:[14]")
	f.link("proc/104/fd/4", "socket:[15]")
	// Another network namespace, another table.
	os.Remove(filepath.Join(f.root, "proc/105/ns/net"))
	f.link("proc/105/ns/net", "net:[2]")
	f.write("proc/105/net/tcp", head+line(9090, "0A", "11"))
	f.link("proc/105/fd/3", "socket:[11]")
	f.expect("port:8080", "100")
	f.expect("port:53", "103")
	f.expect("port:9090", "105")
	f.expect("port:1", "no process matches port:1; ps -e shows what runs")
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 10 100 10 1"))
	f.Add([]byte("1 (a) b) Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := parseStat(b)
		if !ok && s != (stat{}) {
			t.Fatal("a value with an error")
		}
		parseStatus(b)
	})
}
