package target

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Launch starts a program with procdump's own environment, folder, stdin,
// stdout and stderr. A name without a slash is looked up in PATH. Errors match
// ErrLaunch and name the cause.
//
// The program gets a process group of its own, so that Ctrl-C ends procdump
// and not the program; it is therefore in the background of the terminal,
// which stops it when it reads from there (SIGTTIN). It goes on when procdump
// ends, and Launch sees to it that it leaves no zombie while procdump runs.
func Launch(program string, args []string) (*Child, error) {
	path, err := lookUp(program)
	if err != nil {
		return nil, err
	}
	launching.Lock()
	defer launching.Unlock()
	return execute(path, append([]string{program}, args...), path)
}

// execute starts a file. Whatever happens to it is said of the program.
func execute(file string, argv []string, program string) (*Child, error) {
	pidfd := -1
	process, err := os.StartProcess(file, argv, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd},
	})
	if err != nil {
		return nil, launchError(program, err)
	}
	c := &Child{PID: process.Pid, Program: program, done: make(chan struct{})}
	process.Release() // Process.Wait would take the stops from a tracer in this process
	go c.reap(pidfd)
	return c, nil
}

func launchProblem(cause, remedy string, err error) error {
	return &Error{Kind: ErrLaunch, Cause: "cannot launch " + cause, Remedy: remedy, Err: err}
}

// lookUp gives the file of a program, as execvp(3) finds it.
func lookUp(program string) (string, error) {
	if program == "" {
		return "", launchProblem("a program without a name", "give its path after the dump folder", nil)
	}
	if strings.ContainsRune(program, '/') {
		return program, executable(program)
	}
	var unfit error
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if dir == "" {
			dir = "."
		}
		path := filepath.Join(dir, program)
		if !strings.ContainsRune(path, '/') {
			path = "./" + path
		}
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if unfit == nil && !errors.Is(err, os.ErrNotExist) {
			unfit = err
		}
	}
	if unfit != nil {
		return "", unfit
	}
	remedy := "check the spelling, or give its path"
	if executable("./"+program) == nil {
		remedy = "the one in this folder is ./" + program
	}
	return "", launchProblem(program+": not found in PATH", remedy, os.ErrNotExist)
}

// executable tells why a file cannot be run; the kernel has the last word.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return launchProblem(path+": no such file", "check the spelling", os.ErrNotExist)
	case err != nil:
		return launchProblem(fmt.Sprintf("%s: %v", path, errors.Unwrap(err)), "", err)
	case info.IsDir():
		return launchProblem(path+": it is a folder", "give the program in it", syscall.EISDIR)
	case !info.Mode().IsRegular():
		return launchProblem(path+": it is not a regular file", "", syscall.EACCES)
	case info.Mode()&0o111 == 0:
		return launchProblem(path+": it is not executable", "chmod +x "+shellQuote(path)+", or launch its interpreter", os.ErrPermission)
	}
	return nil
}

// launchError explains what execve(2) answered.
func launchError(path string, err error) error {
	var errno syscall.Errno
	errors.As(err, &errno)
	kind := describeFile(path)
	switch {
	case errno == syscall.ENOENT && kind.interpreter != "":
		return launchProblem(fmt.Sprintf("%s: its interpreter %s does not exist", path, kind.interpreter), "install it", err)
	case errno == syscall.ENOEXEC && kind.machine != elf.EM_NONE && kind.machine != ownMachine():
		return launchProblem(fmt.Sprintf("%s: it is made for %s, this machine is %s", path, machineText(kind.machine), machineText(ownMachine())),
			"use a build for this machine", err)
	case errno == syscall.ENOEXEC && kind.machine == elf.EM_NONE:
		return launchProblem(path+": it is not a program (no ELF header, no #! line)", "launch its interpreter", err)
	case errno == syscall.EACCES:
		return launchProblem(path+": not permitted to execute it", "check its mode, its folder's mode and the mount option noexec", err)
	case errno != 0:
		return launchProblem(fmt.Sprintf("%s: %v", path, errno), "", err)
	}
	return launchProblem(fmt.Sprintf("%s: %v", path, err), "", err)
}

// fileKind is what execve(2) looks at in a file.
type fileKind struct {
	machine     elf.Machine
	interpreter string // of a script, or the dynamic linker
}

func describeFile(path string) (k fileKind) {
	// debug/elf promises nothing for damaged files.
	defer func() {
		if recover() != nil {
			k = fileKind{}
		}
	}()
	file, err := os.Open(path)
	if err != nil {
		return fileKind{}
	}
	defer file.Close()
	const scriptLine = 256 // BINPRM_BUF_SIZE
	start, _ := io.ReadAll(io.NewSectionReader(file, 0, scriptLine))
	if line, ok := strings.CutPrefix(string(start), "#!"); ok {
		line, _, _ = strings.Cut(line, "\n")
		if words := strings.Fields(line); len(words) > 0 {
			// A carriage return behind the name is a script from Windows.
			k.interpreter = strings.Trim(fmt.Sprintf("%q", words[0]), `"`)
			if strings.Contains(line, "\r") && len(words) == 1 {
				k.interpreter += `\r (the script has Windows line ends)`
			}
		}
		return k
	}
	image, err := elf.NewFile(file)
	if err != nil {
		return fileKind{}
	}
	k.machine = image.Machine
	for _, segment := range image.Progs {
		if segment.Type == elf.PT_INTERP {
			name, _ := io.ReadAll(io.LimitReader(segment.Open(), 4096))
			k.interpreter = strings.TrimRight(string(name), "\x00")
		}
	}
	return k
}

func ownMachine() elf.Machine {
	image, err := elf.Open("/proc/self/exe")
	if err != nil {
		return elf.EM_NONE
	}
	defer image.Close()
	return image.Machine
}

func machineText(m elf.Machine) string {
	switch m {
	case elf.EM_X86_64:
		return "x86-64"
	case elf.EM_386:
		return "i386"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_ARM:
		return "arm"
	}
	return m.String()
}
