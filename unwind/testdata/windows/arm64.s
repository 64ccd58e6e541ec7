// Functions as compilers do not write them, or not these; see arm64.c.

	.text
	.globl	__chkstk
__chkstk: // x15: 1/16 of the bytes that the stack is to grow by; it keeps all registers
	ret

	.macro function name
	.globl	\name
	.p2align 2
	.seh_proc \name
\name:
	.endm

	.section .drectve,"yn"
	.ascii	" -export:nexts -export:pairs -export:singles -export:link -export:pointer -export:variadic"
	.ascii	" -export:halves -export:signed -export:any -export:nothing"
	.text

	// All registers of the stack's area by save_next, from general ones to d8 on.
	function nexts
	stp	x19, x20, [sp, #-176]!
	.seh_save_r19r20_x 176
	stp	x21, x22, [sp, #16]
	.seh_save_next
	stp	x23, x24, [sp, #32]
	.seh_save_next
	stp	x25, x26, [sp, #48]
	.seh_save_next
	stp	x27, x28, [sp, #64]
	.seh_save_next
	stp	d8, d9, [sp, #80]
	.seh_save_next
	stp	d10, d11, [sp, #96]
	.seh_save_next
	stp	x29, x30, [sp, #144]
	.seh_save_fplr 144
	add	x29, sp, #144
	.seh_add_fp 144
	.seh_endprologue
	movz	x19, #1
	movz	x22, #2
	movz	x25, #3
	movz	x28, #4
	blr	x8
	.seh_startepilogue
	sub	sp, x29, #144
	.seh_add_fp 144
	ldp	x29, x30, [sp, #144]
	.seh_save_fplr 144
	ldp	d10, d11, [sp, #96]
	.seh_save_next
	ldp	d8, d9, [sp, #80]
	.seh_save_next
	ldp	x27, x28, [sp, #64]
	.seh_save_next
	ldp	x25, x26, [sp, #48]
	.seh_save_next
	ldp	x23, x24, [sp, #32]
	.seh_save_next
	ldp	x21, x22, [sp, #16]
	.seh_save_next
	ldp	x19, x20, [sp], #176
	.seh_save_r19r20_x 176
	.seh_endepilogue
	ret
	.seh_endproc

	// Pairs that begin anywhere, each with its part of the stack.
	function pairs
	stp	x20, x21, [sp, #-32]!
	.seh_save_regp_x x20, 32
	stp	x25, x26, [sp, #16]
	.seh_save_regp x25, 16
	stp	d9, d10, [sp, #-48]!
	.seh_save_fregp_x d9, 48
	stp	d12, d13, [sp, #16]
	.seh_save_fregp d12, 16
	stp	x23, x30, [sp, #32]
	.seh_save_lrpair x23, 32
	sub	sp, sp, #496
	.seh_stackalloc 496
	.seh_endprologue
	movz	x20, #1
	movz	x23, #2
	movz	x26, #3
	blr	x8
	.seh_startepilogue
	add	sp, sp, #496
	.seh_stackalloc 496
	ldp	x23, x30, [sp, #32]
	.seh_save_lrpair x23, 32
	ldp	d12, d13, [sp, #16]
	.seh_save_fregp d12, 16
	ldp	d9, d10, [sp], #48
	.seh_save_fregp_x d9, 48
	ldp	x25, x26, [sp, #16]
	.seh_save_regp x25, 16
	ldp	x20, x21, [sp], #32
	.seh_save_regp_x x20, 32
	.seh_endepilogue
	ret
	.seh_endproc

	// One register after another.
	function singles
	str	x24, [sp, #-64]!
	.seh_save_reg_x x24, 64
	str	x27, [sp, #8]
	.seh_save_reg x27, 8
	str	x30, [sp, #16]
	.seh_save_reg x30, 16
	str	d14, [sp, #-32]!
	.seh_save_freg_x d14, 32
	str	d8, [sp, #8]
	.seh_save_freg d8, 8
	.seh_endprologue
	movz	x24, #1
	movz	x27, #2
	blr	x8
	.seh_startepilogue
	ldr	d8, [sp, #8]
	.seh_save_freg d8, 8
	ldr	d14, [sp], #32
	.seh_save_freg_x d14, 32
	ldr	x30, [sp, #16]
	.seh_save_reg x30, 16
	ldr	x27, [sp, #8]
	.seh_save_reg x27, 8
	ldr	x24, [sp], #64
	.seh_save_reg_x x24, 64
	.seh_endepilogue
	ret
	.seh_endproc

	// A function that does not keep its link register, since it calls none.
	function link
	stp	x19, x20, [sp, #-32]!
	.seh_save_regp_x x19, 32
	sub	sp, sp, #1600
	.seh_stackalloc 1600
	.seh_endprologue
	movz	x19, #1
	movz	x20, #2
	.seh_startepilogue
	add	sp, sp, #1600
	.seh_stackalloc 1600
	ldp	x19, x20, [sp], #32
	.seh_save_regp_x x19, 32
	.seh_endepilogue
	ret
	.seh_endproc

	// The stack pointer moves on in the body; two epilogs that differ.
	function pointer
	stp	x29, x30, [sp, #-48]!
	.seh_save_fplr_x 48
	str	x19, [sp, #16]
	.seh_save_reg x19, 16
	mov	x29, sp
	.seh_set_fp
	nop
	.seh_nop
	.seh_endprologue
	movz	x19, #1
	sub	sp, sp, #256
	cbz	x0, 1f
	blr	x8
	.seh_startepilogue
	mov	sp, x29
	.seh_set_fp
	ldr	x19, [sp, #16]
	.seh_save_reg x19, 16
	ldp	x29, x30, [sp], #48
	.seh_save_fplr_x 48
	.seh_endepilogue
	ret
1:	blr	x8
	add	sp, sp, #256
	.seh_startepilogue
	ldr	x19, [sp, #16]
	.seh_save_reg x19, 16
	ldp	x29, x30, [sp], #48
	.seh_save_fplr_x 48
	.seh_endepilogue
	br	x9
	.seh_endproc

	// It puts its parameters where its caller's begin, and not back.
	function variadic
	sub	sp, sp, #80
	.seh_stackalloc 80
	stp	x19, x30, [sp]
	.seh_save_lrpair x19, 0
	stp	x0, x1, [sp, #16]
	.seh_nop
	stp	x2, x3, [sp, #32]
	.seh_nop
	stp	x4, x5, [sp, #48]
	.seh_nop
	stp	x6, x7, [sp, #64]
	.seh_nop
	.seh_endprologue
	movz	x19, #1
	blr	x8
	.seh_startepilogue
	ldp	x19, x30, [sp]
	.seh_save_lrpair x19, 0
	add	sp, sp, #80
	.seh_stackalloc 80
	.seh_endepilogue
	ret
	.seh_endproc

	// More than one instruction can allocate, in two halves.
	function halves
	stp	x29, x30, [sp, #-16]!
	.seh_save_fplr_x 16
	sub	sp, sp, #1048576
	.seh_stackalloc 1048576
	sub	sp, sp, #4080
	.seh_stackalloc 4080
	.seh_endprologue
	blr	x8
	.seh_startepilogue
	add	sp, sp, #4080
	.seh_stackalloc 4080
	add	sp, sp, #1048576
	.seh_stackalloc 1048576
	ldp	x29, x30, [sp], #16
	.seh_save_fplr_x 16
	.seh_endepilogue
	ret
	.seh_endproc

	// The return address is signed.
	function signed
	pacibsp
	.seh_pac_sign_lr
	stp	x29, x30, [sp, #-16]!
	.seh_save_any_reg_px x29, 16
	.seh_endprologue
	movz	x29, #1
	blr	x8
	.seh_startepilogue
	ldp	x29, x30, [sp], #16
	.seh_save_any_reg_px x29, 16
	autibsp
	.seh_pac_sign_lr
	.seh_endepilogue
	ret
	.seh_endproc

	// Registers that other codes have no word for.
	function any
	stp	x29, x30, [sp, #-160]!
	.seh_save_fplr_x 160
	stp	x5, x6, [sp, #16]
	.seh_save_any_reg_p x5, 16
	str	x7, [sp, #40]
	.seh_save_any_reg x7, 40
	stp	q6, q7, [sp, #48]
	.seh_save_any_reg_p q6, 48
	str	q8, [sp, #80]
	.seh_save_any_reg q8, 80
	str	x19, [sp, #-16]!
	.seh_save_any_reg_x x19, 16
	stp	q9, q10, [sp, #-32]!
	.seh_save_any_reg_px q9, 32
	str	d9, [sp, #-16]!
	.seh_save_any_reg_x d9, 16
	.seh_endprologue
	movz	x19, #1
	blr	x8
	.seh_startepilogue
	ldr	d9, [sp], #16
	.seh_save_any_reg_x d9, 16
	ldp	q9, q10, [sp], #32
	.seh_save_any_reg_px q9, 32
	ldr	x19, [sp], #16
	.seh_save_any_reg_x x19, 16
	ldr	q8, [sp, #80]
	.seh_save_any_reg q8, 80
	ldp	q6, q7, [sp, #48]
	.seh_save_any_reg_p q6, 48
	ldr	x7, [sp, #40]
	.seh_save_any_reg x7, 40
	ldp	x5, x6, [sp, #16]
	.seh_save_any_reg_p x5, 16
	ldp	x29, x30, [sp], #160
	.seh_save_fplr_x 160
	.seh_endepilogue
	ret
	.seh_endproc

	// No entry in the table: it calls none and keeps nothing.
	.globl	nothing
nothing:
	add	x0, x0, x1
	nop
	ret

	.bss
	.globl	call
	.globl	number
	.globl	use
	.globl	_fltused
	.p2align 3
call:	.space	8
number:	.space	8
use:	.space	8
_fltused: .space 4
