package cli

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
)

// The ranges of numbers.
const (
	maxCount   = 1_000_000
	maxSeconds = 7 * 24 * 60 * 60
	maxPID     = 1<<32 - 1 // Windows; Linux has at most 2^22

	maxClones = 5 // as in ProcDump

	maxThrottle = 1 << 20 // a terabyte a second

	defaultSeconds = 10 // of -s
)

// number parses a decimal number of the switch called name.
func number(name, what, text string, lowest, highest int) (int, *UsageError) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n < uint64(lowest) || n > uint64(highest) {
		return 0, usagef(name, "", "%q is not a %s from %d to %d", text, what, lowest, highest)
	}
	return int(n), nil
}

func action(a Action) func(*Options, []string) *UsageError {
	return func(o *Options, _ []string) *UsageError { o.Action = a; return nil }
}

// on is a switch without values.
func on(set func(*Options)) func(*Options, []string) *UsageError {
	return func(o *Options, _ []string) *UsageError { set(o); return nil }
}

func kind(k dumpkind.Kind) func(*Options, []string) *UsageError {
	return func(o *Options, _ []string) *UsageError { o.addKind(k); return nil }
}

// addKind adds k to the kinds if it is not there, keeping them in order.
func (o *Options) addKind(k dumpkind.Kind) {
	if i, found := slices.BinarySearch(o.Kinds, k); !found {
		o.Kinds = slices.Insert(o.Kinds, i, k)
	}
}

func miniPlusX(o *Options, _ []string) *UsageError {
	o.DropLargest = true
	o.addKind(dumpkind.MiniPlus)
	return nil
}

func setMask(o *Options, v []string) *UsageError {
	digits := v[0]
	if len(digits) > 2 && strings.EqualFold(digits[:2], "0x") {
		digits = digits[2:]
	}
	mask, err := strconv.ParseUint(digits, 16, 32)
	if err != nil || mask > maxMask {
		return usagef("-mc", badMask, "%q is not a hexadecimal mask from 0 to %x", v[0], maxMask)
	}
	o.Mask = uint32(mask)
	o.addKind(dumpkind.Custom)
	return nil
}

func setLaunch(o *Options, v []string) *UsageError {
	o.Path, o.Launch = v[0], v[1:]
	return nil
}

func setCount(o *Options, v []string) *UsageError {
	n, err := number("-n", "number of dumps", v[0], 1, maxCount)
	o.Limits.PerProcess = n
	return err
}

func setInterval(o *Options, v []string) *UsageError {
	n, err := number("-s", "number of seconds", v[0], 0, maxSeconds)
	o.Rules.Hold = time.Duration(n) * time.Second
	o.Rules.Interval = o.Rules.Hold
	return err
}

func setTimeLimit(o *Options, v []string) *UsageError {
	n, err := number("-at", "number of seconds", v[0], 1, maxSeconds)
	o.TimeLimit = time.Duration(n) * time.Second
	return err
}

// setThrottle takes megabytes as the triggers do: of 2^20 bytes.
func setThrottle(o *Options, v []string) *UsageError {
	n, err := number("-throttle", "number of MB a second", v[0], 1, maxThrottle)
	o.Throttle = uint64(n) << 20
	return err
}

// liveWord is what -r takes in place of a number.
const liveWord = "live"

// setClones reads the number of -r, which is there or not, or liveWord.
func setClones(o *Options, v []string) *UsageError {
	o.Clone, o.Clones = CloneAlways, 1
	if len(v) == 0 {
		return nil
	}
	if o.PreCopy = strings.EqualFold(v[0], liveWord); o.PreCopy {
		return nil
	}
	n, err := number("-r", "number of clones", v[0], 0, maxClones)
	if o.Clones = n; n == 0 {
		o.Clone = CloneNever
	}
	return err
}

func setFormat(o *Options, v []string) *UsageError {
	for _, f := range []capture.Format{capture.FormatELF, capture.FormatMinidump} {
		if strings.EqualFold(v[0], f.String()) {
			o.Format = f
			return nil
		}
	}
	return usagef("-format", "give elf or minidump", "%q is not a format", v[0])
}

func setCancel(o *Options, v []string) *UsageError {
	pid, err := number("-cancel", "PID", v[0], 1, maxPID)
	o.Action, o.CancelPID = ActionCancel, pid
	return err
}
