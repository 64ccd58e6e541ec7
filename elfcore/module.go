package elfcore

import (
	"procdump/snapshot"
)

// maxImages bounds how many images are read: segments of a damaged core may all
// show the same one.
const maxImages = 1 << 13

// moduleFinder groups regions into images.
type moduleFinder struct {
	mem  snapshot.Memory
	mods []foundModule
	seen int            // images read
	open map[string]int // path → index in mods of its image that comes last
}

type foundModule struct {
	snapshot.Module
	regions []int
	image   image
	isELF   bool   // it has an image
	unknown bool   // the core does not hold its header
	offset  uint64 // of its last region in the file
	exec    bool   // has an executable region
}

// findModules fills Modules, Exe and the regions' Image flag.
func (c *collector) findModules(aux map[uint64]uint64) {
	p := &c.p
	f := moduleFinder{mem: p.Memory, open: map[string]int{}}
	for i := range p.Regions {
		if isFile(&p.Regions[i]) {
			f.add(i, &p.Regions[i])
		}
	}
	for _, m := range f.mods {
		if !m.isELF && !(m.unknown && m.exec) {
			continue
		}
		p.Modules = append(p.Modules, m.Module)
		for _, i := range m.regions {
			r := &p.Regions[i]
			if c.maps == nil {
				r.Flags |= snapshot.Image
			}
			if m.isELF && c.permless[r.Addr] {
				r.Perm = m.image.perm(r.Addr)
			}
		}
	}
	c.addVDSO(aux[atSysinfoEhdr])
	c.exeFirst(aux)
}

// add adds region r, the i-th, to the image it belongs to.
func (f *moduleFinder) add(i int, r *snapshot.Region) {
	k, ok := f.open[r.Path]
	if ok {
		m := &f.mods[k]
		if m.isELF && m.image.end() > m.Addr {
			ok = r.Addr < m.image.end()
		} else {
			ok = r.Offset != 0 && r.Offset >= m.offset
		}
	}
	if !ok {
		k = len(f.mods)
		f.open[r.Path] = k
		m := foundModule{Module: snapshot.Module{Range: r.Range, Path: r.Path, Deleted: r.Deleted,
			ID: snapshot.FileID{Dev: r.Dev, Inode: r.Inode}}}
		if f.seen < maxImages {
			m.image, m.isELF = readImage(f.mem, r.Addr)
		}
		if m.isELF {
			f.seen++
			im := &m.image
			m.Bias, m.Dynamic, m.BuildID, m.SOName = im.Bias, im.Dynamic, im.BuildID, im.SOName
		} else {
			_, err := f.mem.ReadMemory(make([]byte, 1), r.Addr)
			m.unknown = err != nil && r.Offset == 0
		}
		f.mods = append(f.mods, m)
	}
	m := &f.mods[k]
	m.Size = r.End() - m.Addr
	m.regions = append(m.regions, i)
	m.offset = r.Offset
	m.exec = m.exec || r.Perm&snapshot.Execute != 0
}

// addVDSO adds the image that the kernel maps into every process.
func (c *collector) addVDSO(addr uint64) {
	p := &c.p
	i := p.FindRegion(addr)
	if addr == 0 || i < 0 || isFile(&p.Regions[i]) {
		return
	}
	im, ok := readImage(p.Memory, addr)
	if !ok {
		return
	}
	r := p.Regions[i]
	p.Modules = append(p.Modules, snapshot.Module{Range: snapshot.Range{Addr: addr, Size: r.End() - addr}, Path: "linux-gate.so",
		Bias: im.Bias, Dynamic: im.Dynamic, BuildID: im.BuildID, SOName: im.SOName})
	if c.maps == nil {
		p.Regions[i].Flags |= snapshot.Image
	}
}

// exeFirst moves the executable to the front: the module that holds the
// program headers or the entry point that the kernel told the process of.
func (c *collector) exeFirst(aux map[uint64]uint64) {
	p := &c.p
	for _, tag := range []uint64{atPhdr, atEntry} {
		addr, ok := aux[tag]
		if !ok {
			continue
		}
		for i, m := range p.Modules {
			if !m.Contains(addr) {
				continue
			}
			copy(p.Modules[1:i+1], p.Modules[:i])
			p.Modules[0] = m
			p.Exe, p.ExeDeleted = m.Path, m.Deleted
			return
		}
	}
}
