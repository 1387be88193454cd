#include "textflag.h"

// func matchVector(b *bucket, tag uint64) int
TEXT ·matchVector(SB), NOSPLIT, $0-24
	MOVQ         b+0(FP), AX
	VPBROADCASTQ tag+8(FP), Y0
	VPXOR        (AX), Y0, Y1
	VPXOR        32(AX), Y0, Y2
	VPXOR        Y3, Y3, Y3
	VPSRLQ       $42, Y1, Y1       // tagShift
	VPSRLQ       $42, Y2, Y2
	VPCMPEQQ     Y3, Y1, Y1
	VPCMPEQQ     Y3, Y2, Y2
	VMOVMSKPD    Y1, CX
	VMOVMSKPD    Y2, DX
	VZEROUPPER
	SHLQ         $4, DX
	ORQ          DX, CX
	ORQ          $0x100, CX        // none: bucketSlots
	BSFQ         CX, CX
	MOVQ         CX, ret+16(FP)
	RET
