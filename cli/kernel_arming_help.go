package cli

import (
	"fmt"
	"strings"

	"procdump/kernel/settings"
)

// armSynopses are the command lines about the crash kernel.
var armSynopses = []string{
	"procdump kernel arm [-type KIND] [-to PLACE] [-o] [-test] [-json]",
	"procdump kernel disarm [-o] [-json]",
	"procdump kernel status [-json]",
}

// armParagraphs explain the verbs, in the help and in the manual.
var armParagraphs = []string{
	"procdump kernel arm has the kernel dumped when it crashes. It loads a crash kernel, with procdump in it, into memory that is " +
		"reserved at boot by the kernel parameter crashkernel=; if that is missing, it says which one this machine needs. At a panic the " +
		"crash kernel starts, writes the dump and starts the machine again. A systemd unit arms at each boot.",
	"The crash kernel reaches folders on ext2, ext3, ext4, xfs, btrfs and vfat on disks of the machine, and block devices of their own. " +
		"It does not reach LVM, RAID, encrypted, and network disks; procdump kernel arm says so.",
	"procdump kernel arm -test crashes the machine at once, after its host name is typed. procdump kernel status says what is " +
		"loaded, and what became of the last crash. procdump kernel disarm undoes it all.",
}

var armExamples = []term{
	{"procdump kernel arm", "dump crashes as the settings have it"},
	{"procdump kernel arm -type active -to /data/crash", "other kind, other folder"},
	{"procdump kernel arm -to /dev/sdb1", "to a partition without a file system"},
	{"procdump kernel arm -test", "crash now, to see that it works"},
}

// armHelp returns the text of procdump kernel arm -?, and those of disarm and
// status.
func armHelp() string {
	var b strings.Builder
	fmt.Fprintf(&b, "procdump %s - dumps the kernel when it crashes\n\n", Version)
	head := "Usage: "
	for _, s := range armSynopses {
		b.WriteString(head + s + "\n")
		head = "       "
	}
	for _, v := range []struct {
		verb     string
		switches []verbSwitch[armOptions]
	}{{armVerb, armSwitches}, {disarmVerb, disarmSwitches}, {statusVerb, statusSwitches}} {
		b.WriteString("\nSwitches of " + v.verb + "\n")
		switchLines(&b, v.switches)
	}
	helpParagraphs(&b, armParagraphs)
	b.WriteString("\n" + wrap("KIND is one of those that procdump kernel -? explains, PLACE a folder on a disk or a block device of its own. The settings are in "+settings.File+
		"; procdump kernel config shows and changes all of them.", 0))
	exampleLines(&b, armExamples)
	return b.String()
}

// arm adds the crash kernel to the section on dumps of the kernel.
func (m *manPage) arm() {
	m.more(armParagraphs)
	manSwitches(m, kernelVerb+" "+armVerb, armSwitches)
	m.terms(armExamples)
}
