package lzo1x

import (
	"bytes"
	"testing"
)

// end is the instruction that ends a stream.
var end = []byte{0x11, 0, 0}

// stream joins bytes, slices of bytes and strings.
func stream(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func repeat(s string, n int) string { return string(bytes.Repeat([]byte(s), n)) }

// far is 16390 literals, which take 18 + 64*255 + 52 as their length.
var far = "0123456789abcdef" + repeat("x", 16374)

var streams = []struct {
	name string
	in   []byte
	want string
}{
	{"first literals", stream(17+5, "abcde", end), "abcde"},
	{"literals in state 0", stream(2, "abcde", end), "abcde"},
	{"long literals", stream(0, 3, repeat("z", 21), end), repeat("z", 21)},
	{"longer literals", stream(0, 0, 1, repeat("z", 274), end), repeat("z", 274)},
	{"match of 3 or 4 bytes", stream(17+4, "abcd", 1<<6|1<<5|3<<2, 0, end), "abcdabcd"},
	{"match of 5 to 8 bytes that overlaps", stream(17+4, "abcd", 1<<7|3<<5|1<<2|2, 0, "yz", end), "abcdcdcdcdcdyz"},
	{"match by 001, literals follow", stream(17+4, "abcd", 32|1, 3<<2|1, 0, "!", end), "abcdabc!"},
	{"long match by 001", stream(17+4, "abcd", 32, 1, 3<<2, 0, end), "abcd" + repeat("abcd", 9)[:34]},
	{"short match in state 1", stream(17+4, "abcd", 1<<6|3<<2|1, 0, "x", 1<<2, 0, end), "abcdabcxcx"},
	{"short match by the first byte's state", stream(17+2, "ab", 1<<2, 0, end), "abab"},
	{"match by 0001", stream(0, bytes.Repeat([]byte{0}, 64), 52, far, 16|2, 6<<2, 0, end), far + far[:4]},
	{"match of 3 in state 4", stream(0, bytes.Repeat([]byte{0}, 8), 142, repeat("q", 10)+repeat("w", 2190), 0, 0, end), repeat("q", 10) + repeat("w", 2190) + "www"},
	{"nothing", stream(end), ""},
}

func TestDecompress(t *testing.T) {
	for _, c := range streams {
		t.Run(c.name, func(t *testing.T) {
			dst := make([]byte, len(c.want))
			n, err := Decompress(dst, c.in)
			if err != nil || string(dst[:n]) != c.want {
				t.Fatalf("got %q, %v; want %q", dst[:n], err, c.want)
			}
			if len(c.want) > 0 {
				if _, err := Decompress(dst[:len(dst)-1], c.in); err == nil {
					t.Error("a destination that is too small is no error")
				}
			}
			for n := range c.in {
				if n > 100 && n < len(c.in)-100 {
					continue
				}
				if _, err := Decompress(dst, c.in[:n]); err == nil {
					t.Errorf("the first %d of %d bytes are no error", n, len(c.in))
				}
			}
			if _, err := Decompress(dst, append(bytes.Clone(c.in), 0)); err == nil {
				t.Error("bytes behind the end are no error")
			}
		})
	}
}

func TestDecompressRejects(t *testing.T) {
	for _, in := range [][]byte{
		stream(17+2, "ab", 2<<2, 0, end),        // before the beginning
		stream(17+4, "abcd", 1<<6|7<<2, 0, end), // likewise
		stream(17+4, "abcd", 0x12, 0, 0),        // end with a wrong length
		stream(0, bytes.Repeat([]byte{0}, 5000)),
	} {
		if n, err := Decompress(make([]byte, 4096), in); err == nil {
			t.Errorf("% x gives %d bytes", in[:min(len(in), 20)], n)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	for _, c := range streams {
		f.Add(c.in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		dst := bytes.Repeat([]byte{0xa5}, 4096+64)
		n, _ := Decompress(dst[:4096:4096], in)
		if n < 0 || n > 4096 || !bytes.Equal(dst[4096:], bytes.Repeat([]byte{0xa5}, 64)) {
			t.Fatalf("wrote outside of its destination, or %d bytes", n)
		}
	})
}
