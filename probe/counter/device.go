package counter

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Columns of /proc/diskstats after the name (the kernel's
// Documentation/admin-guide/iostats.rst). A sector is 512 bytes on every disk,
// times are milliseconds.
const (
	diskReads        = 0
	diskReadSectors  = 2
	diskReadTime     = 3
	diskWrites       = 4
	diskWriteSectors = 6
	diskWriteTime    = 7
	diskInFlight     = 8
	diskTime         = 9
	diskQueueTime    = 10 // weighted by the requests in flight
)

const sector = 512

// Columns of /proc/net/dev after the name.
const (
	netRxBytes   = 0
	netRxPackets = 1
	netRxErrors  = 2
	netRxDropped = 3
	netTxBytes   = 8
	netTxPackets = 9
	netTxErrors  = 10
	netTxDropped = 11
)

// columns are those that make a counter: the sum of num, for a ratio by the sum
// of den.
type columns struct{ num, den []int }

// ofDisk reads /proc/diskstats. (_Total) is the sum over the disks that are
// hardware: what lies on top of them (partitions, RAID, device mapper, loop)
// would be counted twice.
func ofDisk(c columns) func(Env, string, int) (sampler, error) {
	return func(e Env, instance string, _ int) (sampler, error) {
		wanted := []string{instance}
		if instance == total {
			if wanted = disks(e); len(wanted) == 0 {
				return nil, fmt.Errorf("%w (_Total): no disk of /sys/block is hardware; name one of /proc/diskstats", ErrInstance)
			}
		}
		return openFile(e, 0, filepath.Join(e.Proc, "diskstats"), func(text []byte) (float64, float64, error) {
			num, den, found := 0.0, 0.0, 0
			for line, rest := cutLine(text); len(line) > 0; line, rest = cutLine(rest) {
				if !among(wanted, field(line, 2)) {
					continue
				}
				found++
				n, d, err := c.add(line, 3)
				if err != nil {
					return 0, 0, err
				}
				num, den = num+n, den+d
			}
			if found == 0 {
				return 0, 0, fmt.Errorf("%w (%s): there are %s", ErrInstance, instance, strings.Join(diskNames(text), ", "))
			}
			return num, den, nil
		})
	}
}

// add sums the columns of a line, of which the first is field first.
func (c columns) add(line []byte, first int) (num, den float64, err error) {
	for _, i := range c.num {
		v, ok := number(field(line, first+i))
		if !ok {
			return 0, 0, errNoField
		}
		num += v
	}
	for _, i := range c.den {
		v, ok := number(field(line, first+i))
		if !ok {
			return 0, 0, errNoField
		}
		den += v
	}
	return num, den, nil
}

func among(names []string, b []byte) bool {
	for _, n := range names {
		if n == string(b) {
			return true
		}
	}
	return false
}

func disks(e Env) []string { return hardware(filepath.Join(e.Sys, "block")) }

// hardware lists the entries of a folder of sysfs that have a device behind
// them. Sysfs writes ! for the / of names like cciss/c0d0.
func hardware(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, "*", "device"))
	var names []string
	for _, p := range paths {
		names = append(names, strings.ReplaceAll(filepath.Base(filepath.Dir(p)), "!", "/"))
	}
	return names
}

func diskNames(text []byte) []string {
	var names []string
	for line := range bytes.Lines(text) {
		if n := field(line, 2); len(n) > 0 {
			names = append(names, string(n))
		}
	}
	return names
}

// ofNetwork reads /proc/net/dev, which shows the interfaces of procdump's own
// network namespace. (_Total) is the sum over those that are hardware, as
// bridges and tunnels lie on top of them; in a container, which has none, over
// all but lo.
func ofNetwork(c columns) func(Env, string, int) (sampler, error) {
	return func(e Env, instance string, _ int) (sampler, error) {
		wanted := []string{instance}
		if instance == total {
			wanted = cards(e)
		}
		return openFile(e, 0, filepath.Join(e.Proc, "net", "dev"), func(text []byte) (float64, float64, error) {
			sum, found := 0.0, 0
			for line, rest := cutLine(text); len(line) > 0; line, rest = cutLine(rest) {
				name, numbers, ok := bytes.Cut(line, []byte(":"))
				name = bytes.TrimLeft(name, " ")
				if !ok || !among(wanted, name) {
					continue
				}
				found++
				v, _, err := c.add(numbers, 0)
				if err != nil {
					return 0, 0, err
				}
				sum += v
			}
			if found == 0 && instance != total {
				return 0, 0, fmt.Errorf("%w (%s): there are %s", ErrInstance, instance, strings.Join(netNames(text), ", "))
			}
			return sum, 0, nil
		})
	}
}

// cards lists the interfaces that (_Total) sums up.
func cards(e Env) []string {
	if names := hardware(filepath.Join(e.Sys, "class", "net")); len(names) > 0 {
		return names
	}
	text, _ := os.ReadFile(filepath.Join(e.Proc, "net", "dev"))
	return slices.DeleteFunc(netNames(text), func(n string) bool { return n == "lo" })
}

func netNames(text []byte) []string {
	var names []string
	for line := range bytes.Lines(text) {
		if name, _, ok := bytes.Cut(line, []byte(":")); ok {
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}

// instances lists those of an object that List shows: _Total and what it sums
// up, without each processor.
func (o *object) instances(e Env) []string {
	switch o {
	case processorObject:
		return []string{total}
	case diskObject:
		names := disks(e)
		slices.Sort(names)
		return append([]string{total}, names...)
	case networkObject:
		names := cards(e)
		slices.Sort(names)
		return append([]string{total}, names...)
	}
	return []string{""}
}
