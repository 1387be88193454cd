#include "textflag.h"
#include "go_asm.h"

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

// HASH leaves in SI the hash of the key of CX bytes, 8 or more, at BX. DI is the index. Up to
// 32 bytes are two blocks, which may overlap, of a lane each; what a longer key has before its last
// 32 bytes goes through the lanes in steps. The lanes meet after two rounds, and there comes the
// length. Two rounds each, since after one a difference in one place is a difference in few,
// which what is added next could take back; and four in all, since after three, keys that
// differ in a few digits may collide by the thousand, or not at all.
#define HASH \
	VMOVDQU     index_seed(DI), X0; \
	VMOVDQU     index_seed+16(DI), X1; \
	VMOVDQU     index_seed+32(DI), X4; \
	VMOVQ       CX, X5; \
	LEAQ        (BX)(CX*1), R8; \
	CMPQ        CX, $16; \
	JLT         short; \
	CMPQ        CX, $32; \
	JGT         before; \
	VPXOR       (BX), X0, X0; \
blocks: \
	VPXOR       -16(R8), X1, X1; \
	VAESENC     X4, X0, X0; \
	VAESENC     X4, X1, X1; \
	VAESENC     X4, X0, X0; \
	VAESENC     X4, X1, X1; \
	VPXOR       X1, X5, X5; \
	JMP         meet; \
before: \
	VPXOR       (BX), X0, X0; \
	VPXOR       16(BX), X1, X1; \
	VAESENC     X4, X0, X0; \
	VAESENC     X4, X1, X1; \
	VAESENC     X4, X0, X0; \
	VAESENC     X4, X1, X1; \
	ADDQ        $32, BX; \
	SUBQ        $32, CX; \
	CMPQ        CX, $32; \
	JGT         before; \
	VPXOR       -32(R8), X0, X0; \
	JMP         blocks; \
short: \
	VMOVQ       (BX), X2; \
	VPINSRQ     $1, -8(R8), X2, X2; \
	VPXOR       X2, X0, X0; \
	VAESENC     X1, X0, X0; \
	VAESENC     X4, X0, X0; \
meet: \
	VPXOR       X5, X0, X0; \
	VAESENC     X4, X0, X0; \
	VAESENC     X4, X0, X0; \
	VMOVQ       X0, SI

// func hashVector(x *index, key []byte) uint64
TEXT ·hashVector(SB), NOSPLIT, $0-40
	MOVQ x+0(FP), DI
	MOVQ key_base+8(FP), BX
	MOVQ key_len+16(FP), CX
	HASH
	MOVQ SI, ret+32(FP)
	RET

// BUCKET leads from the hash in SI to the first bucket of its row, in R12: see shape.row
// and index.at. The index is in DI. The row is chosen from those that there are by CMOV:
// half of all hashes may have none of their own yet, at random.
#define BUCKET \
	MOVBQZX SI, R8; \
	MOVQ    index_shapes(DI)(R8*8), R9; \
	MOVQ    R9, R10; \
	SHRQ    $32, R10; \
	MOVQ    SI, R11; \
	SHRQ    $8, R11; \
	ANDL    R10, R11; \
	SHRL    $1, R10; \
	ANDL    R11, R10; \
	CMPL    R11, R9; \
	CMOVLCC R10, R11; \
	MOVBLZX index_rowShift(DI), CX; \
	SHRXL   CX, R11, R12; \
	MOVQ    index_primary(DI), R13; \
	MOVQ    (R13)(R12*8), R12; \
	ANDL    index_rowMask(DI), R11; \
	SHLQ    $8, R11; \
	ORQ     R8, R11; \
	SHLQ    $6, R11; \
	ADDQ    R11, R12

// MATCH leaves the hash's tag in SI, shifted, and in CX a bit for each slot of the bucket
// in R12 that has it: see bucket.match.
#define MATCH \
	SHRQ         $42, SI; \
	ORQ          $1, SI; \
	VMOVQ        SI, X0; \
	VPBROADCASTQ X0, Y0; \
	VMOVDQU      (R12), Y1; \
	VMOVDQU      32(R12), Y2; \
	VPSRLQ       $42, Y1, Y1; \
	VPSRLQ       $42, Y2, Y2; \
	VPCMPEQQ     Y0, Y1, Y1; \
	VPCMPEQQ     Y0, Y2, Y2; \
	VMOVMSKPD    Y1, CX; \
	VMOVMSKPD    Y2, DX; \
	SHLL         $4, DX; \
	ORL          DX, CX

// func askVector(x *index, hashes []uint64)
TEXT ·askVector(SB), NOSPLIT, $0-32
	MOVQ x+0(FP), DI
	MOVQ hashes_base+8(FP), BX
	MOVQ hashes_len+16(FP), R15
	LEAQ (BX)(R15*8), R15

next:
	CMPQ BX, R15
	JEQ  all
	MOVQ (BX), SI
	ADDQ $8, BX
	BUCKET
	MATCH
	BSFL CX, CX
	JEQ  next
	MOVQ (R12)(CX*8), R8
	BTQ  $39, R8                         // ghostMark
	JCS  next
	SHLQ $25, R8
	SHRQ $22, R8                         // offset
	ADDQ index_mem(DI), R8               // item

	// Where it ends is not known before its first line has come: who reads its value
	// would wait twice.
	PREFETCHT0 (R8)
	PREFETCHT0 64(R8)
	PREFETCHT0 128(R8)
	PREFETCHT0 192(R8)
	PREFETCHT0 256(R8)
	JMP        next

all:
	VZEROUPPER
	RET

// func getVector(c *Cache, key []byte, h uint64) (v View, ok bool)
TEXT ·getVector(SB), NOSPLIT, $0-65
	MOVQ c+0(FP), AX
	CMPQ Cache_own+ownPins_Processors(AX), $0
	JEQ  slow
	MOVQ Cache_index(AX), DI
	MOVQ h+32(FP), SI
	TESTQ SI, SI
	JNE  hashed
	MOVQ key_base+8(FP), BX
	MOVQ key_len+16(FP), CX
	CMPQ CX, $8
	JLT  slow
	HASH
	MOVQ Cache_curve(AX), R8
	MOVQ SI, R9
	SHRQ $16, R9                         // curveHash
	ANDL $0xffffff, R9
	CMPL R9, curve_threshold(R8)
	JCS  slow                            // the curve wants to know

hashed:
	BUCKET
	MATCH

	// The caller's pins: see pin.Own.
	MOVQ    Cache_own+ownPins_InG(AX), R8
	MOVQ    (TLS), R10
	MOVQ    (R10)(R8*1), R10
	MOVQ    Cache_own+ownPins_InM(AX), R8
	MOVQ    (R10)(R8*1), R10
	MOVLQSX (R10), R10
	VZEROUPPER
	CMPQ    R10, Cache_own+ownPins_Processors(AX)
	JGE     slow
	IMULQ   Cache_own+ownPins_Stride(AX), R10
	ADDQ    Cache_own+ownPins_Counts(AX), R10
	MOVQ    Cache_pins(AX), R9
	MOVQ    R9, v_pins+56(FP)

	BSFL CX, CX
	JEQ  slow
	LEAQ (R12)(CX*8), R12                // slot
	MOVQ (R12), AX                       // what it holds
	MOVQ AX, CX
	SHRQ $42, CX
	CMPQ CX, SI
	JNE  slow                            // it has just gone
	BTQ  $39, AX                         // ghostMark
	JCS  slow

	MOVQ    AX, R8
	SHLQ    $25, R8
	SHRQ    $22, R8                      // offset
	MOVBLZX index_segShift(DI), CX
	SHRXQ   CX, R8, R9                   // segment
	ADDQ    index_mem(DI), R8            // item

	// Its first line alone: asking for more gains 1 % where a value is read whole, and
	// costs 3 to 5 % where it is not.
	PREFETCHT0 (R8)

	// The pin, and the second look: see Cache.look.
	MOVL R9, v_segment+52(FP)
	SHLQ $4, R9                          // pin.CountSize
	ADDQ R9, R10
	INCQ (R10)
	MOVQ (R12), R11
	XORQ AX, R11
	MOVQ $0xfffffcffffffffff, CX         // all but freqMask
	TESTQ CX, R11
	JNE  no

	// Header and key.
	MOVQ key_base+8(FP), SI
	MOVQ key_len+16(FP), CX
	MOVQ (R8), BX
	MOVQ CX, DX
	SHLQ $8, DX
	MOVQ BX, R11
	SHRQ $24, R11                        // flags, and above them the key's length
	CMPQ R11, DX
	JNE  no
	ANDL $0xffffff, BX                   // maxValue
	ADDQ CX, SI                          // the ends of both keys
	LEAQ 8(R8)(CX*1), R8                 // headerSize
	NEGQ CX
	CMPQ CX, $-32
	JLE  long
	CMPQ CX, $-16
	JLE  middle
	CMPQ CX, $-8
	JGT  no
	MOVQ (SI)(CX*1), DX
	MOVQ -8(SI), DI
	XORQ (R8)(CX*1), DX
	XORQ -8(R8), DI
	ORQ  DX, DI
	JNE  no

same:
	// One read more, if it has not been read so often that nobody counts.
	MOVQ  $0x30000000000, DX             // freqMask
	MOVQ  AX, CX
	ANDQ  DX, CX
	CMPQ  CX, DX
	JNE   count

done:
	MOVQ R8, v_value+40(FP)
	MOVL BX, v_length+48(FP)
	MOVB $1, ok+64(FP)
	RET

count:
	MOVQ $0x10000000000, DX              // freqOne
	ADDQ AX, DX
	LOCK
	CMPXCHGQ DX, (R12)
	JMP  done

middle: // 16 to 31 bytes
	MOVOU (SI)(CX*1), X0
	MOVOU -16(SI), X1
	MOVOU (R8)(CX*1), X2
	MOVOU -16(R8), X3
	PXOR  X2, X0
	PXOR  X3, X1
	POR   X1, X0
	PTEST X0, X0
	JEQ   same
	JMP   no

long: // 32 and more
	VMOVDQU (SI)(CX*1), Y0
	VPXOR   (R8)(CX*1), Y0, Y0
	VPTEST  Y0, Y0
	JNE     noVector
	ADDQ    $32, CX
	CMPQ    CX, $-32
	JLE     long
	VMOVDQU -32(SI), Y0
	VPXOR   -32(R8), Y0, Y0
	VPTEST  Y0, Y0
	VZEROUPPER
	JEQ     same
	JMP     no

noVector:
	VZEROUPPER

no: // nobody has seen the pin but who was told that he may not empty the segment
	DECQ (R10)

slow:
	JMP ·getGo(SB)
