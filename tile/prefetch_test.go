package tile

import (
	"testing"
	"unsafe"

	"github.com/qkv-go/qkv/kernel"
)

// What is asked for lies in the operands, and is most of them. (What an item begins with
// may be too much for the one before it to ask for.) So it is where rows lie far apart and
// keys in pages, if the CPU takes these.
func TestPrefetch(t *testing.T) {
	t.Run("heads first", func(t *testing.T) { testPrefetch(t, 4, 2, 256<<10, Tuning{}) })
	t.Run("far, and pages", func(t *testing.T) { testPrefetch(t, 24, 12, 1<<20, Tuning{Apart: true}) })
}

func testPrefetch(t *testing.T, heads, kvHeads, l2 int, tuning Tuning) {
	const batch, seq, dim, page = 1, 704, 40, 4
	asked := map[uintptr]bool{}
	take := func(a *kernel.Ahead, tiles, steps int) {
		for ; tiles > 0; tiles-- {
			for left := steps; a.Rows > 0 && left > a.Every; left -= a.Every {
				asked[a.Base/line] = true
				a.Base += line
				if a.Left--; a.Left == 0 {
					a.Left = a.Lines
					gap := a.Gap
					if a.Gaps != 0 {
						gap = **(**int)(unsafe.Pointer(&a.Gaps)) // in memory that a worker holds
						a.Gaps += unsafe.Sizeof(gap)
					}
					a.Base += uintptr(gap)
					a.Rows--
				}
			}
		}
	}
	const rows = 6
	set := kernel.Set{Name: "test", Vec: 16, Lanes: 64, Rows: rows}.With(kernel.Funcs{
		Pack:       func(*kernel.PackArgs) {},
		Convert:    func(*kernel.ConvertArgs) {},
		Scores:     func(a *kernel.ScoresArgs) { take(&a.Ahead, (a.Keys+rows-1)/rows, a.Dim) },
		Softmax:    func(*kernel.SoftmaxArgs) {},
		Accumulate: func(a *kernel.AccumulateArgs) { take(&a.Ahead, (a.Dim+rows-1)/rows, a.Keys) },
		Unpack:     func(*kernel.UnpackArgs) {},
		Bias:       func(*kernel.BiasArgs) {},
	})
	operand := func(heads int) (Operand, []float32) {
		mem := make([]float32, batch*heads*seq*dim)
		stride := [4]int{heads * seq * dim, seq * dim, dim, 1}
		if tuning.Apart {
			stride = [4]int{heads * seq * dim, dim, heads * dim, 1} // tokens first
		}
		return Operand{unsafe.Pointer(&mem[0]), stride}, mem
	}
	p := Problem{
		Batch: batch, Heads: heads, KVHeads: kvHeads, SeqQ: seq, SeqKV: seq, TokensQ: batch * seq, TokensKV: batch * seq,
		DimQK: dim, DimV: dim, Scale: 1, Mask: Mask{Left: Unbounded, Right: Unbounded},
	}
	var q, k, v, out []float32
	p.Q, q = operand(heads)
	keys := func() (KV, []float32) {
		o, mem := operand(kvHeads)
		kv := KV{Base: o.Base, Stride: o.Stride}
		if tuning.Apart {
			kv.Stride[0] = kvHeads * page * dim // of a page
		}
		for axis := range kv.Stride {
			kv.Stride[axis] *= 4
		}
		return kv, mem
	}
	p.K, k = keys()
	p.V, v = keys()
	p.Out, out = operand(heads)
	bias, keep := make([]float32, heads*seq*seq), make([]bool, seq*seq)
	p.Bias = Pairs{Given: true, Base: unsafe.Pointer(&bias[0]), Stride: [4]int{0, seq * seq, seq, 1}}
	for i := range keep {
		keep[i] = true
	}
	p.Mask.Bool = Pairs{Given: true, Base: unsafe.Pointer(&keep[0]), Stride: [4]int{0, 0, seq, 1}}
	if tuning.Apart {
		table := make([]int32, seq/page)
		for i := range table {
			table[i] = int32(i * 5 % len(table))
		}
		p.Tables, p.LensKV, p.PageTokens = [][]int32{table}, []int{seq}, page
	}
	New(set, Caches{48 << 10, l2, 64 << 10}, false, tuning).Run(&p, 1)

	inside := map[uintptr]bool{}
	for _, x := range []struct {
		name  string
		first unsafe.Pointer
		bytes int
		all   float64 // share that has to be asked for
	}{
		{"q", unsafe.Pointer(&q[0]), 4 * len(q), 0.5}, {"k", unsafe.Pointer(&k[0]), 4 * len(k), 0.8},
		{"v", unsafe.Pointer(&v[0]), 4 * len(v), 0.8}, {"out", unsafe.Pointer(&out[0]), 4 * len(out), 0.5},
		{"bias", unsafe.Pointer(&bias[0]), 4 * len(bias), 0.5}, {"keep", unsafe.Pointer(&keep[0]), len(keep), 0.7},
	} {
		n, got := 0, 0
		for a := uintptr(x.first) / line; a <= (uintptr(x.first)+uintptr(x.bytes)-1)/line; a++ {
			inside[a] = true
			n++
			if asked[a] {
				got++
			}
		}
		if fraction := float64(got) / float64(n); fraction < x.all {
			t.Errorf("%s: %.2f of the lines were asked for, want at least %.2f", x.name, fraction, x.all)
		}
	}
	for a := range asked {
		if !inside[a] {
			t.Fatalf("line %#x is of no operand", a*line)
		}
	}
}
