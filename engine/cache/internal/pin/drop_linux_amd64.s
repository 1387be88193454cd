//go:build !race

#include "textflag.h"
#include "go_asm.h"

// func drop(t *Table, segment uint32)
TEXT ·drop(SB), NOSPLIT, $0-12
	MOVQ    t+0(FP), AX
	MOVL    segment+8(FP), CX
	SHLQ    $4, CX                       // CountSize
	CMPQ    Table_at+Own_Processors(AX), $0
	JEQ     shared
	MOVQ    Table_at+Own_InG(AX), BX
	MOVQ    (TLS), DX
	MOVQ    (DX)(BX*1), DX
	MOVQ    Table_at+Own_InM(AX), BX
	MOVQ    (DX)(BX*1), DX
	MOVLQSX (DX), DX                     // the P's number
	CMPQ    DX, Table_at+Own_Processors(AX)
	JGE     shared
	IMULQ   Table_at+Own_Stride(AX), DX
	ADDQ    Table_at+Own_Counts(AX), DX
	INCQ    count_dropped(DX)(CX*1)
	RET

shared: // see Table.some
	LEAQ  t+0(FP), BX
	SHRQ  $11, BX
	MOVQ  BX, DX
	SHRQ  $7, BX
	XORQ  BX, DX
	MOVQ  Table_shared+stripes_n(AX), BX
	DECQ  BX
	ANDQ  BX, DX
	IMULQ Table_shared+stripes_stride(AX), DX
	SHLQ  $4, DX
	ADDQ  Table_shared+stripes_counts(AX), DX
	LOCK
	INCQ  count_dropped(DX)(CX*1)
	RET
