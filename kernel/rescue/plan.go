// Package rescue is what procdump does in the crash kernel, where it is the
// first and only program: it loads the modules that the target needs, reads the
// memory of the kernel that crashed from /proc/vmcore, writes the dumps, leaves
// a record of what it did, and starts the machine again.
package rescue

import "procdump/kernel/settings"

// PlanFile is where the crash kernel's initrd has the Plan, as JSON.
const PlanFile = "/etc/procdump/plan.json"

// ModuleFolder is where the initrd has the modules.
const ModuleFolder = "/lib/modules"

// RecordName is the file, in the folder of the dumps, that tells the next boot
// what became of the dump; JSON of a Record.
const RecordName = ".procdump-last-crash"

// SmallName is the name of a small dump, for capture.ParseName.
const SmallName = "small_YYMMDD_HHMMSS.elf"

// Plan is what the crash kernel is to do. It is made when the crash kernel is
// loaded, because nothing can be asked then any more.
type Plan struct {
	// Modules are the files below ModuleFolder, in the order in which they are
	// loaded. They are loaded as they are, or decompressed by their extension
	// (.xz, .zst, .gz) first.
	Modules []Module `json:"modules"`
	Target  Target   `json:"target"`
	// SmallTarget is that of the small dumps; its device may be the same as
	// Target's, with another folder. Without one small dumps go beside the others:
	// to Target's folder, or the end of its device (see TailSize).
	SmallTarget *Target           `json:"smallTarget,omitempty"`
	Settings    settings.Settings `json:"settings"`
	// Reserved is how many bytes are set aside for the dump in ReservedFile, a
	// path from the root of the target's file system; "" means that nothing is.
	ReservedFile string `json:"reservedFile,omitempty"`
	Reserved     int64  `json:"reserved,omitempty"`
	// Version is that of the procdump that made the plan.
	Version string `json:"version"`
}

// Module is a kernel module to load.
type Module struct {
	File       string `json:"file"`
	Parameters string `json:"parameters,omitempty"`
	// Optional modules may fail to load: the machine's keyboard, for instance.
	Optional bool `json:"optional,omitempty"`
}

// Target is where a dump goes.
type Target struct {
	// Device is the block device: "UUID=…", which is looked for on all block
	// devices by package superblock, or a path such as /dev/vda1. The UUID is
	// that of the file system; without one, that of the superblock.Mark near the
	// end of the device: the dump ends at superblock.MarkOffset at the latest.
	Device string `json:"device"`
	// FSType is its file system; "" for a device that is written as it is.
	FSType  string `json:"fsType,omitempty"`
	Options string `json:"options,omitempty"` // of the file system
	// Subvolume is the path of the mounted root within the file system (btrfs
	// subvolumes, bind mounts); "" for its own root.
	Subvolume string `json:"subvolume,omitempty"`
	// Folder is the folder of the dumps from the root of the file system.
	Folder string `json:"folder,omitempty"`
}
