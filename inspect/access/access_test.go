package access

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"procdump/arch"
)

// TestOf decodes instructions that gas assembled.
func TestOf(t *testing.T) {
	const pc, ax, cx, sp, fs = 0x401000, 0x10, 0x3, 0x7ffe0000, 0x7f0000001000
	for _, c := range []struct{ code, want string }{
		{"c7 40 08 07 00 00 00", "write 4 0x18 rax=0x10"},                    // mov dword [rax+8], 7
		{"48 8b 00", "read 8 0x10 rax=0x10"},                                 // mov rax, [rax]
		{"88 08", "write 1 0x10 rax=0x10"},                                   // mov [rax], cl
		{"48 8b 04 c8", "read 8 0x28 rax=0x10 rcx=0x3*8"},                    // mov rax, [rax+rcx*8]
		{"48 01 08", "write 8 0x10 rax=0x10"},                                // add [rax], rcx
		{"48 39 08", "read 8 0x10 rax=0x10"},                                 // cmp [rax], rcx
		{"8b 05 10 00 00 00", "read 4 0x401016"},                             // mov eax, [rip+0x10]
		{"64 48 8b 04 25 28 00 00 00", "read 8 0x7f0000001028"},              // mov rax, fs:0x28
		{"50", "write 8 0x7ffdfff8 rsp=0x7ffe0000"},                          // push rax
		{"c3", "read 8 0x7ffe0000 rsp=0x7ffe0000"},                           // ret
		{"ff 10", "read 8 0x10 rax=0x10; write 8 0x7ffdfff8 rsp=0x7ffe0000"}, // call [rax]
		{"f3 a4", "write 1 0x2000 rdi=0x2000; read 1 0x3000 rsi=0x3000"},     // rep movsb
		{"48 8d 00", ""}, // lea rax, [rax]
		{"0f 18 08", ""}, // prefetcht0 [rax]
		{"90", ""},
		{"0f 11 00", "write 16 0x10 rax=0x10"},             // movups [rax], xmm0
		{"c5 fe 6f 00", "read 32 0x10 rax=0x10"},           // vmovdqu ymm0, [rax]
		{"c5 fa 7f 00", "write 16 0x10 rax=0x10"},          // vmovdqu [rax], xmm0
		{"c5 fd 74 0f", "read 32 0x2000 rdi=0x2000"},       // vpcmpeqb ymm1, ymm0, [rdi]
		{"62 e1 fe 28 6f 06", "read 32 0x3000 rsi=0x3000"}, // vmovdqu64 ymm16, [rsi]
		{"67 8b 00", "read 4 0x10 eax=0x10"},               // mov eax, [eax]
		{"f7 38", "read 4 0x10 rax=0x10"},                  // idiv dword [rax]
		{"d8 28", "read 4 0x10 rax=0x10"},                  // fsubr dword [rax]
		{"de 00", "read 2 0x10 rax=0x10"},                  // fiadd word [rax]
		{"d9 18", "write 4 0x10 rax=0x10"},                 // fstp dword [rax]
		{"0f ae 38", "read 0 0x10 rax=0x10"},               // clflush [rax]
	} {
		r := &arch.Registers{Machine: arch.AMD64}
		for name, v := range map[string]uint64{"rip": pc, "rax": ax, "rcx": cx, "rsp": sp, "fs_base": fs, "rdi": 0x2000, "rsi": 0x3000} {
			r.SetGP(name, v)
		}
		code, err := hex.DecodeString(strings.ReplaceAll(c.code, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		all, ok := Of(append(code, 0x90, 0x90), r)
		if got := describe(all); !ok || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.code, got, ok, c.want)
		}
	}
}

func describe(all []Access) string {
	var out []string
	for _, a := range all {
		s := fmt.Sprintf("%s %d %#x", map[bool]string{true: "write", false: "read"}[a.Write], a.Bytes, a.Addr)
		if a.Base != "" {
			s += fmt.Sprintf(" %s=%#x", a.Base, a.Value)
		}
		if a.Index != "" {
			s += fmt.Sprintf(" %s=%#x*%d", a.Index, a.IndexValue, a.Scale)
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestOfI386(t *testing.T) {
	r := &arch.Registers{Machine: arch.I386}
	r.SetGP("eax", 0xfffffff0)
	r.SetGP("eip", 0x8048000)
	all, ok := Of([]byte{0xc7, 0x40, 0x20, 7, 0, 0, 0}, r) // mov dword [eax+0x20], 7
	if got := describe(all); !ok || got != "write 4 0x10 eax=0xfffffff0" {
		t.Errorf("%q, %v", got, ok)
	}
}

// TestOfNothing: what is no instruction, or one of another machine, has none.
func TestOfNothing(t *testing.T) {
	r := &arch.Registers{Machine: arch.AMD64}
	for _, code := range [][]byte{nil, {0x48}, {0x06}} {
		if all, ok := Of(code, r); ok {
			t.Errorf("%x: %+v", code, all)
		}
	}
	r.Machine = arch.ARM64
	if all, ok := Of([]byte{0x90, 0x90, 0x90, 0x90}, r); ok {
		t.Errorf("arm64: %+v", all)
	}
}

func FuzzOf(f *testing.F) {
	f.Add([]byte{0xc7, 0x40, 0x08, 7, 0, 0, 0}, uint64(1), true)
	f.Fuzz(func(t *testing.T, code []byte, v uint64, long bool) {
		r := &arch.Registers{Machine: arch.I386}
		if long {
			r.Machine = arch.AMD64
		}
		for _, name := range r.Machine.GPNames() {
			r.SetGP(name, v)
		}
		all, _ := Of(code, r)
		for _, a := range all {
			if a.Bytes < 0 || a.Bytes > 1<<12 {
				t.Errorf("%x: %d bytes", code, a.Bytes)
			}
		}
	})
}
