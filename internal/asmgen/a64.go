package asmgen

import (
	"fmt"
	"regexp"
	"strings"
)

// Instructions of A64 that Go's assembler lacks, written as words. An operation is a
// mnemonic and the arrangement of its registers, "FADD.S4"; operands stand in the order
// of Go's assembler, the reverse of Arm's.

// A form is a layout of operands in an instruction word.
type form int

const (
	threeSame form = iota // Vm, Vn, Vd
	byElement             // an element of Vm, Vn, Vd
	byHalf                // an element of 16 bits of Vm, which is V0 to V15, Vn, Vd
	widen                 // Vn, Vd, where the comment tells their arrangements
	shiftS4               // shift right of 32-bit elements by 1..32: $shift, Vn, Vd
)

// An encoding is an instruction without its operands, in words and in Arm's syntax:
// %d, %n and %m are registers, %s is the shift.
type encoding struct {
	form form
	bits uint32
	text string
}

const sss = " %d.4s, %n.4s, %m.4s"

var encodings = map[string]encoding{
	"CMHI.S4":   {threeSame, 0x6ea03400, "cmhi" + sss},
	"FADD.S4":   {threeSame, 0x4e20d400, "fadd" + sss},
	"FADDP.S4":  {threeSame, 0x6e20d400, "faddp" + sss},
	"FCMEQ.S4":  {threeSame, 0x4e20e400, "fcmeq" + sss},
	"FCMGT.S4":  {threeSame, 0x6ea0e400, "fcmgt" + sss},
	"FCVTL.S4":  {widen, 0x0e217800, "fcvtl %d.4s, %n.4h"},
	"FCVTL2.S4": {widen, 0x4e217800, "fcvtl2 %d.4s, %n.8h"},
	"FCVTAS.S4": {widen, 0x4e21c800, "fcvtas %d.4s, %n.4s"},
	"FCVTN.H4":  {widen, 0x0e216800, "fcvtn %d.4h, %n.4s"},
	"FCVTZS.S4": {widen, 0x4ea1b800, "fcvtzs %d.4s, %n.4s"},
	"FCVTNS.S4": {widen, 0x4e21a800, "fcvtns %d.4s, %n.4s"},
	"FDIV.S4":   {threeSame, 0x6e20fc00, "fdiv" + sss},
	"FMAXP.S4":  {threeSame, 0x6e20f400, "fmaxp" + sss},
	"FMINP.S4":  {threeSame, 0x6ea0f400, "fminp" + sss},
	"FMLA.S[0]": {byElement, 0x4f801000, "fmla %d.4s, %n.4s, %m.s[0]"},
	"FMLA.S[1]": {byElement, 0x4fa01000, "fmla %d.4s, %n.4s, %m.s[1]"},
	"FMLA.S[2]": {byElement, 0x4f801800, "fmla %d.4s, %n.4s, %m.s[2]"},
	"FMLA.S[3]": {byElement, 0x4fa01800, "fmla %d.4s, %n.4s, %m.s[3]"},
	"FMUL.S[0]": {byElement, 0x4f809000, "fmul %d.4s, %n.4s, %m.s[0]"},
	"FMUL.S4":   {threeSame, 0x6e20dc00, "fmul" + sss},
	"FNEG.S4":   {widen, 0x6ea0f800, "fneg %d.4s, %n.4s"},
	"FSUB.S4":   {threeSame, 0x4ea0d400, "fsub" + sss},
	"BIC.B16":   {threeSame, 0x4e601c00, "bic %d.16b, %n.16b, %m.16b"},
	"SSHR.S4":   {shiftS4, 0x4f000400, "sshr %d.4s, %n.4s, #%s"},
	"SADALP.S4": {widen, 0x4e606800, "sadalp %d.4s, %n.8h"},
	"SADALP.H8": {widen, 0x4e206800, "sadalp %d.8h, %n.16b"},
	"SADDLP.H8": {widen, 0x4e202800, "saddlp %d.8h, %n.16b"},
	"SADDLP.S4": {widen, 0x4e602800, "saddlp %d.4s, %n.8h"},
	"SCVTF.S4":  {widen, 0x4e21d800, "scvtf %d.4s, %n.4s"},
	"SCVTF.#24": {widen, 0x4f28e400, "scvtf %d.4s, %n.4s, #24"},
	"SDOT.B[0]": {byElement, 0x4f80e000, "sdot %d.4s, %n.16b, %m.4b[0]"},
	"SDOT.B[1]": {byElement, 0x4fa0e000, "sdot %d.4s, %n.16b, %m.4b[1]"},
	"SDOT.B[2]": {byElement, 0x4f80e800, "sdot %d.4s, %n.16b, %m.4b[2]"},
	"SDOT.B[3]": {byElement, 0x4fa0e800, "sdot %d.4s, %n.16b, %m.4b[3]"},
	"SDOT.S4":   {threeSame, 0x4e809400, "sdot %d.4s, %n.16b, %m.16b"},
	"SHLL.S4":   {widen, 0x2e613800, "shll %d.4s, %n.4h, #16"},
	"SHLL2.S4":  {widen, 0x6e613800, "shll2 %d.4s, %n.8h, #16"},
	"SMULL.H8":  {threeSame, 0x0e20c000, "smull %d.8h, %n.8b, %m.8b"},
	"SMULL2.H8": {threeSame, 0x4e20c000, "smull2 %d.8h, %n.16b, %m.16b"},
	"SQXTN.B8":  {widen, 0x0e214800, "sqxtn %d.8b, %n.8h"},
	"SQXTN.H4":  {widen, 0x0e614800, "sqxtn %d.4h, %n.4s"},
	"UMAXP.S4":  {threeSame, 0x6ea0a400, "umaxp" + sss},
	"UXTL.H8":   {widen, 0x2f08a400, "uxtl %d.8h, %n.8b"},
	"UXTL.S4":   {widen, 0x2f10a400, "uxtl %d.4s, %n.4h"},
	"XTN.B8":    {widen, 0x0e212800, "xtn %d.8b, %n.8h"},
	"XTN.H4":    {widen, 0x0e612800, "xtn %d.4h, %n.4s"},
	"SSHLL.S4":  {widen, 0x0f17a400, "sshll %d.4s, %n.4h, #7"},
	"SSHLL2.S4": {widen, 0x4f17a400, "sshll2 %d.4s, %n.8h, #7"},
	"SSUBW.H8":  {threeSame, 0x0e203000, "ssubw %d.8h, %n.8h, %m.8b"},
	"SSUBW2.H8": {threeSame, 0x4e203000, "ssubw2 %d.8h, %n.8h, %m.16b"},
	"SXTL.H8":   {widen, 0x0f08a400, "sxtl %d.8h, %n.8b"},
	"SXTL2.H8":  {widen, 0x4f08a400, "sxtl2 %d.8h, %n.16b"},
	"SXTL.S4":   {widen, 0x0f10a400, "sxtl %d.4s, %n.4h"},
}

func init() {
	for i := range uint32(8) {
		place := i>>2<<11 | i>>1&1<<21 | i&1<<20
		encodings[fmt.Sprintf("SMLAL.H[%d]", i)] = encoding{byHalf, 0x0f402000 | place, fmt.Sprintf("smlal %%d.4s, %%n.4h, %%m.h[%d]", i)}
		encodings[fmt.Sprintf("SMLAL2.H[%d]", i)] = encoding{byHalf, 0x4f402000 | place, fmt.Sprintf("smlal2 %%d.4s, %%n.8h, %%m.h[%d]", i)}
	}
}

// word returns an instruction as the assembler's WORD with Arm's syntax as a comment.
func (e encoding) word(operands []any) string {
	reg := func(x any) uint32 {
		var n uint32
		if _, err := fmt.Sscanf(fmt.Sprint(x), "V%d", &n); err != nil || n > 31 {
			panic(fmt.Sprintf("asmgen: %v is no vector register", x))
		}
		return n
	}
	var m, s uint32
	w := e.bits
	n, d := reg(operands[len(operands)-2]), reg(operands[len(operands)-1])
	switch e.form {
	case threeSame, byElement, byHalf:
		m = reg(operands[0])
		if e.form == byHalf && m > 15 {
			panic(fmt.Sprintf("asmgen: an element of 16 bits of V%d", m))
		}
		w |= m << 16
	case shiftS4:
		s = uint32(operands[0].(int))
		if s < 1 || s > 32 {
			panic(fmt.Sprintf("asmgen: a shift by %d", s))
		}
		w |= (64 - s) << 16
	}
	w |= n<<5 | d
	v := func(n uint32) string { return fmt.Sprint("v", n) }
	text := strings.NewReplacer("%d", v(d), "%n", v(n), "%m", v(m), "%s", fmt.Sprint(s)).Replace(e.text)
	return fmt.Sprintf("WORD $0x%08x // %s", w, text)
}

var vecName = regexp.MustCompile(`^V[0-9]+$`)

// a64 is Arch.Instr of A64. Where the assembler knows a vector instruction, its
// registers take the arrangement that stands after the mnemonic, or the names that
// loads and stores know them by.
func a64(op string, operands []any) string {
	if e, ok := encodings[op]; ok {
		return e.word(operands)
	}
	name, arrangement, arranged := strings.Cut(op, ".")
	named := make([]any, len(operands))
	for i, x := range operands {
		named[i] = x
		if v := fmt.Sprint(x); vecName.MatchString(v) {
			if arranged {
				named[i] = v + "." + arrangement
			} else {
				named[i] = "F" + v[1:]
			}
		}
	}
	return instr(name, named)
}
