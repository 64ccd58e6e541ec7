package cli

// Exit codes. They are part of the command line's contract.
const (
	ExitOK         = 0
	ExitFailed     = 1
	ExitUsage      = 2
	ExitNoTarget   = 3
	ExitPermission = 4
	ExitNotReached = 5
	ExitCancelled  = 130
)

// exitCodes are the codes as the help and the manual explain them.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{ExitOK, "all dumps that were asked for are written"},
	{ExitFailed, "a dump failed; no file of it is left"},
	{ExitUsage, "the command line is wrong"},
	{ExitNoTarget, "no process matches, or several do and -all is not given"},
	{ExitPermission, "not permitted to dump the process"},
	{ExitNotReached, "it ended before all dumps were written, or -a avoided one"},
	{ExitCancelled, "cancelled by Ctrl-C, SIGTERM or -cancel"},
}
