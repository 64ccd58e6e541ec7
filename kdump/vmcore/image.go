package vmcore

import (
	"strconv"

	"procdump/arch"
	"procdump/kdump"
)

const (
	// startKernelMap is where x86-64 maps the kernel image
	// (Documentation/arch/x86/x86_64/mm.rst).
	startKernelMap = 0xffffffff80000000
	// imageAlign is what x86-64 aligns the image to, and imageSize what is
	// taken as its size when no segment tells: distributions' kernels have
	// some 50 MiB of code, data and bss.
	imageAlign = 2 << 20
	imageSize  = 64 << 20
)

// stext is the virtual address of the kernel's code.
func stext(d *kdump.Dump) (uint64, bool) {
	s, ok := d.Info("SYMBOL(_stext)")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 16, 64)
	return v, err == nil
}

// isImage tells whether a segment is of the kernel image: on x86-64 by its
// address, elsewhere by its offset if it is known (arm64's kimage_voffset).
func isImage(d *kdump.Dump, s kdump.Segment) bool {
	if d.Arch == arch.AMD64 {
		return s.VirtAddr >= startKernelMap
	}
	if v, ok := d.Info("NUMBER(kimage_voffset)"); ok {
		off, err := strconv.ParseUint(v, 0, 64)
		return err == nil && s.VirtAddr-s.PhysAddr == off
	}
	return false
}

// usable tells whether a segment maps virtual to physical addresses: those of
// /proc/kcore's vmalloc area do not, and QEMU writes 0 as virtual address
// unless it is told to walk page tables.
func usable(s kdump.Segment) bool {
	return s.PhysAddr != kdump.NoPhysAddr && s.VirtAddr != 0 && s.MemSize > 0
}

// directMap returns the difference of virtual and physical address in the
// direct map, by the largest segment that is not the kernel image's.
func directMap(d *kdump.Dump) (offset uint64, ok bool) {
	var size uint64
	for _, s := range d.Segments {
		if usable(s) && !isImage(d, s) && s.MemSize > size && (d.Arch.PointerSize() == 4 || int64(s.VirtAddr) < 0) {
			offset, size = s.VirtAddr-s.PhysAddr, s.MemSize
		}
	}
	return offset, size > 0
}

// kernelImage returns the segment of the kernel image, empty if it is not known.
func kernelImage(d *kdump.Dump) kdump.Segment {
	var image kdump.Segment
	for _, s := range d.Segments {
		if !usable(s) || !isImage(d, s) {
			continue
		}
		// The image may come in several segments.
		switch {
		case image.MemSize == 0:
			image = s
		case s.VirtAddr-s.PhysAddr == image.VirtAddr-image.PhysAddr:
			end := max(image.VirtAddr+image.MemSize, s.VirtAddr+s.MemSize)
			if s.VirtAddr < image.VirtAddr {
				image.VirtAddr, image.PhysAddr = s.VirtAddr, s.PhysAddr
			}
			image.MemSize = end - image.VirtAddr
		}
	}
	if va, ok := stext(d); ok && image.MemSize == 0 && d.Arch == arch.AMD64 {
		va &^= imageAlign - 1
		if addr, ok := d.VirtToPhys(va); ok {
			image = kdump.Segment{VirtAddr: va, PhysAddr: addr, MemSize: imageSize}
		}
	}
	return image
}
