package image

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os/exec"
	"strings"
	"testing"

	"procdump/victims/need"
)

// packXZ has xz compress a text.
func packXZ(t *testing.T, text []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(need.Tool(t, "xz"), append([]string{"-c"}, args...)...)
	cmd.Stdin = bytes.NewReader(text)
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestXZ(t *testing.T) {
	text := bytes.Repeat([]byte("a function's name and its address\n"), 20000)
	for _, args := range [][]string{
		{}, {"-9"}, {"-1"}, {"--check=none"}, {"--check=crc32"}, {"--check=sha256"},
		{"--block-size=100000"},         // one block after the other
		{"-T2", "--block-size=65536"},   // with sizes in their headers
		{"--lzma2=preset=1,dict=96KiB"}, // of the other form of sizes
	} {
		b, left := packXZ(t, text, args...), uint64(maxAllXZDict)
		got, err := unxz(b, maxMini, &left)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%q: %d bytes, %v", args, len(got), err)
		}
		if left == maxAllXZDict {
			t.Errorf("%q: the dictionary was not counted", args)
		}
		if _, err := unxz(b, uint64(len(text))-1, &left); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%q: beyond the limit: %v", args, err)
		}
		left = 1 << 10
		if _, err := unxz(b, maxMini, &left); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("%q: without memory for dictionaries: %v", args, err)
		}
		for n := range 100 {
			left = 1 << 20 // for what has a small dictionary
			if _, err := unxz(b[:n], maxMini, &left); err == nil {
				t.Errorf("%q: no error for %d bytes of it", args, n)
			}
		}
	}
	b, left := packXZ(t, []byte("text")), uint64(maxAllXZDict)
	b[bytes.Index(b, []byte("text"))]++
	if _, err := unxz(b, maxMini, &left); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("damaged: %v", err)
	}
}

// TestXZDictionary: no block gets a dictionary of 4 GiB, neither the first nor a
// later one.
func TestXZDictionary(t *testing.T) {
	b := packXZ(t, []byte("first second"), "--block-size=6")
	heads := blocksOf(b)
	if len(heads) != 2 {
		t.Fatalf("%d blocks", len(heads))
	}
	for i, at := range heads {
		changed := bytes.Clone(b)
		size := 4 * (int(changed[at]) + 1)
		property := at + bytes.Index(changed[at:at+size], []byte{0x21, 1}) + 2
		changed[property] = 40 // 4 GiB less a byte
		binary.LittleEndian.PutUint32(changed[at+size-4:], crc32.ChecksumIEEE(changed[at:at+size-4]))
		left := uint64(maxAllXZDict)
		if _, err := unxz(changed, maxMini, &left); err == nil || !strings.Contains(err.Error(), "4096 MiB is too large") {
			t.Errorf("block %d: %v", i, err)
		}
	}
}

// blocksOf finds the headers of blocks, of less than 200 bytes, by their checksums.
func blocksOf(b []byte) (all []int) {
	for at := 12; at+12 <= len(b); at += 4 {
		size := 4 * (int(b[at]) + 1)
		if b[at] != 0 && at+size <= len(b) && crc32.ChecksumIEEE(b[at:at+size-4]) == binary.LittleEndian.Uint32(b[at+size-4:]) {
			all = append(all, at)
		}
	}
	return all
}

// FuzzXZ decompresses anything, in bounded memory.
func FuzzXZ(f *testing.F) {
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x03text\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		left := uint64(8 << 20)
		out, err := unxz(b, 1<<20, &left)
		if len(out) > 1<<20 || err != nil && out != nil || left > 8<<20 {
			t.Errorf("%d bytes, %v, %d left", len(out), err, left)
		}
	})
}
