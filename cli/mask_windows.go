package cli

const (
	maskMeaning = "MINIDUMP_TYPE"
	maskMore    = "MASK is the sum of MINIDUMP_TYPE flags that MiniDumpWriteDump knows."
	maxMask     = 0xffffffff
	badMask     = ""
)
