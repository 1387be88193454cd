//go:build !race

#include "textflag.h"
#include "go_asm.h"

// func drop(t *Table, segment uint32)
TEXT ·drop(SB), NOSPLIT, $0-12
	MOVQ    ·inM(SB), SI
	TESTQ   SI, SI
	JEQ     shared
	MOVQ    t+0(FP), AX
	MOVL    segment+8(FP), CX
	MOVQ    ·inG(SB), BX
	MOVQ    (TLS), DX
	MOVQ    (DX)(BX*1), DX
	MOVQ    (DX)(SI*1), DX
	MOVLQSX (DX), DX                     // the P's number
	CMPQ    DX, Table_own+stripes_n(AX)
	JGE     shared
	IMULQ   Table_own+stripes_stride(AX), DX
	ADDQ    CX, DX
	SHLQ    $4, DX                       // CountSize
	ADDQ    Table_own+stripes_counts(AX), DX
	INCQ    count_dropped(DX)
	RET

shared:
	JMP ·dropShared(SB)
