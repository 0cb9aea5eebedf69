package tile

import "github.com/qkv-go/qkv/internal/ptr"

// A MeanScores computes the scores of queries and the mean of the keys that their head attends, which
// keys that are kept without it lack in their log-sum-exps:
//
//	Scores[head*Seq+token] = Scale * sum over d of X[0, head, token, d] * Mean[head/(Heads/KVHeads)*Dim+d]
//
// Products and sums are float64, in the order of the dims, and the score is rounded once.
type MeanScores struct {
	X                        Operand   // [1, Heads, Seq, Dim]
	Mean                     []float32 // [KVHeads*Dim]
	Scores                   []float32 // [Heads*Seq]
	Heads, KVHeads, Seq, Dim int       // at least 1
	Scale                    float32
}

const (
	// meanItem is about the elements of an item of a MeanScores, or a row, if it has more.
	meanItem = 1 << 13

	// meanWorth is the elements that pay for another goroutine.
	meanWorth = 1 << 14
)

// MeanScores computes with at most workers goroutines, the caller's among them.
func (e *Engine) MeanScores(m *MeanScores, workers int) {
	j := e.means.job()
	j.operands = *m
	j.run(rowCut{m.Heads * m.Seq, m.Dim, meanItem, meanWorth}, workers, nil)
}

// rows computes the scores [from, to).
func (m *MeanScores) rows(_ *Engine, _ *struct{}, from, to int) {
	for row := from; row < to; row++ {
		head, token := row/m.Seq, row%m.Seq
		x, sum := (*float32)(m.X.at(0, head, token)), 0.0
		for d, mean := range m.Mean[head/(m.Heads/m.KVHeads)*m.Dim:][:m.Dim] {
			sum += float64(*ptr.At(x, d*m.X.Stride[3])) * float64(mean) // an exact product
		}
		m.Scores[row] = float32(float64(m.Scale) * sum)
	}
}
