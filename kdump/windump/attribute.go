package windump

import "strings"

// Attributes are the flags of a dump (DUMP_FILE_ATTRIBUTES of the Windows SDK).
type Attributes uint32

// Flags of Attributes.
const (
	HiberCrash                Attributes = 1 << 0 // the crash was while hibernating or resuming
	DumpDevicePowerOff        Attributes = 1 << 1
	InsufficientDumpfileSize  Attributes = 1 << 2 // pages were left out for lack of space
	KernelGeneratedTriageDump Attributes = 1 << 3
	LiveDumpGeneratedDump     Attributes = 1 << 4 // of a running system
	DumpIsGeneratedOffline    Attributes = 1 << 5
	FilterDumpFile            Attributes = 1 << 6 // pages were filtered: an active memory dump
	EarlyBootCrash            Attributes = 1 << 7
	EncryptedDumpData         Attributes = 1 << 8
	DecryptedDump             Attributes = 1 << 9
)

var attributeNames = []string{
	"hibernation", "dump device powered off", "not enough space", "small dump by the kernel", "live dump",
	"made offline", "filtered", "early boot", "encrypted", "decrypted",
}

// String lists the flags: "live dump, filtered".
func (a Attributes) String() string {
	var names []string
	for i, n := range attributeNames {
		if a>>i&1 != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// Kind names the kind of dump in the words of Windows' settings, where the type
// alone does not tell active from complete, or a live dump from one of a crash.
func (h *Header) Kind() string {
	kind := h.Type.String()
	if h.Type == BitmapFull || h.Type == Full {
		kind = "complete memory dump"
		if h.Attributes&FilterDumpFile != 0 {
			kind = "active memory dump"
		}
	}
	if h.Attributes&LiveDumpGeneratedDump != 0 {
		kind += " of a running system"
	}
	return kind
}
