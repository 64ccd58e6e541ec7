package target

import (
	"path"
	"regexp"
	"strings"

	"procdump/internal/mountinfo"
)

// cgroup is a line of /proc/PID/cgroup (cgroups(7)): "0::/path" of the unified
// hierarchy, or "4:memory:/path" and "1:name=systemd:/path" of version 1.
type cgroup struct {
	controllers string
	path        string
}

func (fs FS) cgroups(pid int) []cgroup {
	b, err := readFile(fs.of(pid, "cgroup"))
	if err != nil {
		return nil
	}
	var groups []cgroup
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) == 3 {
			groups = append(groups, cgroup{controllers: fields[1], path: strings.TrimSuffix(fields[2], " (deleted)")})
		}
	}
	return groups
}

// inUnit looks for a systemd unit among the folders of the path: systemd keeps
// its units in the unified hierarchy and, on version 1, in name=systemd.
func inUnit(groups []cgroup, unit string) bool {
	for _, g := range groups {
		if g.controllers != "" && g.controllers != "name=systemd" {
			continue
		}
		for folder := range strings.SplitSeq(g.path, "/") {
			if folder == unit || folder == unit+".service" {
				return true
			}
		}
	}
	return false
}

// inCgroup holds for a cgroup and all below it. The path may be given as it is
// in /proc/PID/cgroup or as a folder of /sys/fs/cgroup.
func inCgroup(groups []cgroup, wanted string) bool {
	clean := path.Clean("/" + wanted)
	paths := []string{clean}
	if rest, ok := strings.CutPrefix(clean+"/", "/sys/fs/cgroup/"); ok {
		paths = []string{path.Clean("/" + rest)}
		// Version 1 has a folder for each controller first.
		if _, below, ok := strings.Cut(rest, "/"); ok {
			for _, g := range groups {
				if c := strings.TrimPrefix(g.controllers, "name="); c != "" && strings.HasPrefix(rest, c+"/") {
					paths = append(paths, path.Clean("/"+below))
				}
			}
		}
	}
	for _, g := range groups {
		for _, p := range paths {
			if p == "/" || g.path == p || strings.HasPrefix(g.path, p+"/") {
				return true
			}
		}
	}
	return false
}

// Container ids in folders of cgroup paths, as the runtimes write them:
//
//	/docker/ID                      docker, cgroupfs driver
//	docker-ID.scope                 docker, systemd driver
//	cri-containerd-ID.scope  x.slice:cri-containerd:ID
//	crio-ID.scope  libpod-ID.scope  (…-conmon-ID.scope is their monitor, outside)
//	/ecs/TASK/TASK-NUMBER           Amazon ECS
//	kubepods-burstable-podUID.slice  /kubepods/burstable/podUID
var (
	containerID = regexp.MustCompile(`(?:^|[-:])([0-9a-f]{64})(?:\.scope)?$`)
	ecsID       = regexp.MustCompile(`^([0-9a-f]{32}-[0-9]+)$`)
	podID       = regexp.MustCompile(`(?:^|-)pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?$`)
	// mountID is where docker, podman and CRI-O keep what they mount over the
	// container's /etc/hostname, …: …/containers/ID/hostname.
	mountID = regexp.MustCompile(`containers/([0-9a-f]{64})/`)
)

// inContainer matches the beginning of a container's or pod's id. The cgroup
// path tells it; where a cgroup namespace hides that, cpuset or the files that
// the runtime mounts over some of /etc do.
func (fs FS) inContainer(pid int, id string) bool {
	for _, g := range fs.cgroups(pid) {
		if pathHasID(g.path, id) {
			return true
		}
	}
	if pathHasID(readText(fs.of(pid, "cpuset")), id) {
		return true
	}
	b, err := readFile(fs.of(pid, "mountinfo"))
	if err != nil {
		return false
	}
	for mount := range mountinfo.Parse(b) {
		// /var/lib/docker/containers/ID/hostname at /etc/hostname
		switch mount.Point {
		case "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv":
			if m := mountID.FindStringSubmatch(mount.Root); m != nil && strings.HasPrefix(m[1], id) {
				return true
			}
		}
	}
	return false
}

func pathHasID(cgroupPath, id string) bool {
	for folder := range strings.SplitSeq(cgroupPath, "/") {
		if strings.Contains(folder, "conmon-") {
			continue
		}
		for _, re := range []*regexp.Regexp{containerID, ecsID, podID} {
			m := re.FindStringSubmatch(folder)
			if m != nil && (strings.HasPrefix(m[1], id) || strings.HasPrefix(strings.ReplaceAll(m[1], "_", "-"), id)) {
				return true
			}
		}
	}
	return false
}
