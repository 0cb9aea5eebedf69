package qkv_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/qkv-go/qkv"
)

// A few queries have their keys divided where workers would lack work, and a plan says so.
func TestExplainDecode(t *testing.T) {
	const heads, kvHeads, seqKV, dim = 8, 2, 5000, 16
	kv := make([]float32, kvHeads*seqKV*dim)
	q := make([]float32, heads*100*dim)
	call := func(batch int, cu ...int) *qkv.Call {
		tokens := cu[len(cu)-1]
		c := &qkv.Call{
			Q: qkv.THD(q, tokens, heads, dim), Out: qkv.THD(q, tokens, heads, dim), CuLensQ: cu,
			K: qkv.Strided(kv, 0, [4]int{batch, kvHeads, seqKV, dim}, [4]int{0, seqKV * dim, dim, 1}),
		}
		c.V = c.K
		return c
	}
	for _, test := range []struct {
		call          *qkv.Call
		workers       int
		path          string
		items, decode int
		why           string
	}{
		{call(1, 0, 1), 1, "decode", 0, 1, "decode on generic: 1 item of few queries on 1 worker, 0.0"},
		{call(1, 0, 1), 2, "decode", 0, 10, "10 items of few queries: chunks of keys"}, // of one KV head each
		{call(40, upTo(40)...), 1, "decode", 0, 40, "whole"},
		{call(40, upTo(40)...), 2, "decode", 0, 40, "40 items of few queries: sequences are whole"},
		{call(2, 0, 99, 100), 1, "prefill and decode", 4, 1, "4 items of up to"},
		{call(1, 0, 100), 1, "prefill", 2, 0, "2 items of up to"},
	} {
		e, err := qkv.New(qkv.Config{Kernel: "generic", Workers: test.workers})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := e.Explain(test.call)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Path != test.path || plan.Items != test.items || plan.Decode != test.decode || !strings.Contains(plan.String(), test.why) {
			t.Errorf("workers=%d: %d items, %d of few queries, want %s, %d and %d\n%v", test.workers, plan.Items, plan.Decode, test.path, test.items, test.decode, plan)
		}
	}
}

// upTo returns 0 to n.
func upTo(n int) []int {
	list := make([]int, n+1)
	for i := range list {
		list[i] = i
	}
	return list
}

// TestExplainDecodeOrder: a plan says in which order decoding reads rows.
func TestExplainDecodeOrder(t *testing.T) {
	const heads, seqKV, dim = 4, 300, 32
	x := make([]float32, heads*seqKV*dim)
	e, err := qkv.New(qkv.Config{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	for want, kv := range map[string]qkv.View{
		"rows follow each other":    qkv.BHSD(x, 1, heads, seqKV, dim),
		"rows lie among each other": qkv.BSHD(x, 1, seqKV, heads, dim),
	} {
		plan, err := e.Explain(&qkv.Call{
			Q: qkv.BHSD(x, 1, heads, 1, dim), Out: qkv.BHSD(make([]float32, heads*dim), 1, heads, 1, dim), K: kv, V: kv,
		})
		if err != nil || !strings.Contains(plan.String(), want) {
			t.Errorf("%v, %v, want %q", plan, err, want)
		}
	}
}

// TestExplainDivided: keys that are divided among workers and read by the kernels of prefill are not
// said to be decoded in an order.
func TestExplainDivided(t *testing.T) {
	const seqQ, seqKV, dim = 4, 1 << 14, 32
	x := make([]float32, seqKV)
	e, err := qkv.New(qkv.Config{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	kv := qkv.Strided(x, 0, [4]int{1, 1, seqKV, dim}, [4]int{0, 0, 1, 0}) // no row that lies side by side
	plan, err := e.Explain(&qkv.Call{
		Q: qkv.BHSD(x, 1, 1, seqQ, dim), Out: qkv.BHSD(make([]float32, seqQ*dim), 1, 1, seqQ, dim), K: kv, V: kv,
	})
	if err != nil || plan.Decode < 2 || strings.Contains(plan.String(), "decoding reads") {
		t.Errorf("%v, %v, want several items that are not decoded", plan, err)
	}
}

// TestExplainWorkers: a plan says that workers were asked for, or that they are those of GOMAXPROCS.
func TestExplainWorkers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	const seq = 512
	x := make([]float32, 8*seq*64)
	for workers, want := range map[int]string{
		0: "3 of at most 3 workers: as many as GOMAXPROCS, since Config.Workers is 0",
		1: "1 of at most 1 worker: what was asked for",
		2: "2 of at most 2 workers: what was asked for",
	} {
		e := newAttention(t, qkv.Config{Workers: workers})
		v := qkv.BHSD(x, 1, 8, seq, 64)
		attention, err := e.Explain(&qkv.Call{Q: v, K: v, V: v, Out: qkv.BHSD(make([]float32, len(x)), 1, 8, seq, 64)})
		product, err2 := e.ExplainMatMul(&qkv.Product{
			X: qkv.RowMajor(x, seq, seq), W: qkv.RowMajor(x, seq, seq), Y: qkv.RowMajor(make([]float32, seq*seq), seq, seq),
		})
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for what, why := range map[string][]string{"attention": attention.Why, "product": product.Why} {
			if !slices.Contains(why, want) {
				t.Errorf("%s of %d workers: why %q, want %q", what, workers, why, want)
			}
		}
	}
}
