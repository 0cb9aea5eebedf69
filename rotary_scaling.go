package qkv

import (
	"math"

	"github.com/qkv-go/qkv/kernel/fp"
)

// A RotaryScalingType names a way to change the frequencies of rotary embeddings, as
// rope_type in a model's config.json does.
type RotaryScalingType string

const (
	// ScalingDefault changes nothing. So does the empty type.
	ScalingDefault RotaryScalingType = "default"

	// ScalingLinear divides the frequencies by Factor (position interpolation; Chen et
	// al., 2023).
	ScalingLinear RotaryScalingType = "linear"

	// ScalingNTK multiplies the base by Factor^(dim/(dim-2)) (NTK-aware interpolation;
	// bloc97, 2023).
	ScalingNTK RotaryScalingType = "ntk"

	// ScalingDynamic is ScalingNTK with a factor that grows with the length n of the
	// sequence, Factor*n/OriginalMaxPositions - (Factor-1), from 1 at
	// OriginalMaxPositions on (emozilla, 2023). The tables are those of the length
	// RotaryConfig.MaxPositions: a longer sequence needs another Rotary.
	ScalingDynamic RotaryScalingType = "dynamic"

	// ScalingYaRN divides frequencies by Factor that turn less than BetaSlow times in
	// OriginalMaxPositions, leaves those that turn more than BetaFast times, and ramps
	// between them; the tables are multiplied by an attention factor (YaRN; Peng et al.,
	// 2023).
	ScalingYaRN RotaryScalingType = "yarn"

	// ScalingLlama3 divides frequencies by Factor whose wavelength is above
	// OriginalMaxPositions/LowFreqFactor, leaves those below
	// OriginalMaxPositions/HighFreqFactor, and blends between them (Llama 3.1, 2024).
	ScalingLlama3 RotaryScalingType = "llama3"

	// ScalingLongRoPE divides each frequency by a factor of its own, of ShortFactor or,
	// where RotaryConfig.MaxPositions is above OriginalMaxPositions, of LongFactor; the
	// tables are multiplied by an attention factor (LongRoPE; Ding et al., 2024).
	ScalingLongRoPE RotaryScalingType = "longrope"
)

// A RotaryScaling says how the frequencies of a rotary embedding are changed for sequences
// longer than those of the training. It can be decoded from rope_scaling of a model's
// config.json as Hugging Face transformers write it. There, older models have type for
// rope_type, and some have OriginalMaxPositions or the Factor of LongRoPE, which is
// max_position_embeddings / original_max_position_embeddings, outside of rope_scaling.
//
// A field that the type does not name is not read. The zero value changes nothing.
type RotaryScaling struct {
	Type RotaryScalingType `json:"rope_type"` // what the fields below mean

	// Factor is by how much the sequences are longer, at least 1.
	Factor float64 `json:"factor"`

	// OriginalMaxPositions is the length of sequences in the training before scaling; for
	// ScalingDynamic it is max_position_embeddings of the model.
	OriginalMaxPositions int `json:"original_max_position_embeddings"`

	// LowFreqFactor and HighFreqFactor are those of ScalingLlama3, the second the larger.
	LowFreqFactor  float64 `json:"low_freq_factor"`
	HighFreqFactor float64 `json:"high_freq_factor"`

	// BetaFast and BetaSlow are numbers of turns of ScalingYaRN; 0 means 32 and 1.
	BetaFast float64 `json:"beta_fast"`
	BetaSlow float64 `json:"beta_slow"`

	// Truncate says whether the ends of the ramp of ScalingYaRN are rounded to whole
	// pairs; nil means that they are.
	Truncate *bool `json:"truncate"`

	// AttentionFactor multiplies sines and cosines, and so the scores by its square
	// (ScalingYaRN, ScalingLongRoPE). 0 means that of the paper: for YaRN
	// 0.1*ln(Factor) + 1, and for LongRoPE sqrt(1 + ln(Factor)/ln(OriginalMaxPositions)).
	AttentionFactor float64 `json:"attention_factor"`

	// MScale and MScaleAllDim, where both are given, make the attention factor of
	// ScalingYaRN (0.1*MScale*ln(Factor) + 1) / (0.1*MScaleAllDim*ln(Factor) + 1), as
	// DeepSeek-V2 does. What such a model multiplies its softmax scale by is the caller's
	// to do, in Call.Scale.
	MScale       float64 `json:"mscale"`
	MScaleAllDim float64 `json:"mscale_all_dim"`

	// ShortFactor and LongFactor [dim/2] are those of ScalingLongRoPE.
	ShortFactor []float64 `json:"short_factor"`
	LongFactor  []float64 `json:"long_factor"`
}

// check reports a field that the type needs and cannot use.
func (s *RotaryScaling) check(dim, positions int) error {
	switch s.Type {
	case "", ScalingDefault:
		return nil
	case ScalingLinear, ScalingNTK, ScalingDynamic, ScalingYaRN, ScalingLlama3, ScalingLongRoPE:
	default:
		return argError("scaling", 0, 0, "scaling has the unknown type %q", string(s.Type))
	}
	fromPaper := s.Type == ScalingLongRoPE && s.AttentionFactor == 0
	if f := s.Factor; s.Type != ScalingLongRoPE || fromPaper {
		if !(f >= 1) || math.IsInf(f, 0) {
			return argError("scaling", 0, 1, "scaling %q has factor %v, a finite number of at least 1 is needed", string(s.Type), f)
		}
	}
	if s.Type == ScalingLinear || s.Type == ScalingNTK {
		return nil
	}
	if n := s.OriginalMaxPositions; n < 2 || n > MaxSeq {
		return argError("scaling", n, 2, "scaling %q has original max positions %d, 2 to %d are supported", string(s.Type), n, MaxSeq)
	}
	switch s.Type {
	case ScalingLlama3:
		if !(s.LowFreqFactor > 0) || !(s.HighFreqFactor > s.LowFreqFactor) || math.IsInf(s.HighFreqFactor, 0) {
			return argError("scaling", 0, 0, "scaling %q has frequency factors %v and %v, positive ones are needed, the second the larger",
				string(s.Type), s.LowFreqFactor, s.HighFreqFactor)
		}
	case ScalingYaRN:
		if fast, slow := s.betas(); !(slow > 0) || !(fast >= slow) || math.IsInf(fast, 0) {
			return argError("scaling", 0, 0, "scaling %q has betas %v and %v, positive ones are needed, the first the larger", string(s.Type), fast, slow)
		}
	case ScalingLongRoPE:
		name, factors := s.factors(positions)
		if len(factors) != dim/2 {
			return argError("scaling", len(factors), dim/2, "scaling %q has %d %s factors, the dim of %d needs %d", string(s.Type), len(factors), name, dim, dim/2)
		}
		for i, f := range factors {
			if !(f >= minLongRoPEFactor) || math.IsInf(f, 0) {
				return argError("scaling", i, 0, "scaling %q has the %s factor %v at %d, a finite number of at least %v is needed",
					string(s.Type), name, f, i, float64(minLongRoPEFactor))
			}
		}
	}
	if a := s.attentionFactor(); !(a >= minFactor) || a > math.MaxFloat32 {
		return argError("scaling", 0, 0, "scaling %q has attention factor %v, %v to %v is supported",
			string(s.Type), a, float32(minFactor), float32(math.MaxFloat32))
	}
	return nil
}

// minLongRoPEFactor keeps angles in the range of sincos: tables have at most 2^28
// positions.
const minLongRoPEFactor = 0.25

// betas returns BetaFast and BetaSlow.
func (s *RotaryScaling) betas() (fast, slow float64) {
	fast, slow = s.BetaFast, s.BetaSlow
	if fast == 0 {
		fast = 32
	}
	if slow == 0 {
		slow = 1
	}
	return fast, slow
}

// factors returns the factors of LongRoPE for sequences of a length.
func (s *RotaryScaling) factors(positions int) (name string, factors []float64) {
	if positions > s.OriginalMaxPositions {
		return "long", s.LongFactor
	}
	return "short", s.ShortFactor
}

// attentionFactor returns what sines and cosines are multiplied by.
func (s *RotaryScaling) attentionFactor() float64 {
	switch {
	case s.Type != ScalingYaRN && s.Type != ScalingLongRoPE:
		return 1
	case s.AttentionFactor != 0:
		return s.AttentionFactor
	case s.Type == ScalingLongRoPE:
		return math.Sqrt(1 + ln(s.Factor)/ln(float64(s.OriginalMaxPositions)))
	}
	mscale := func(m float64) float64 { return float64(float64(0.1*m)*ln(s.Factor)) + 1 }
	if s.MScale != 0 && s.MScaleAllDim != 0 {
		return mscale(s.MScale) / mscale(s.MScaleAllDim)
	}
	return mscale(1)
}

// ln returns the natural logarithm of x.
func ln(x float64) float64 {
	high, _ := fp.LogParts(x)
	return high
}

// frequencies returns the radians that each pair turns by from one position to the next:
// base^(-2i/dim), scaled.
func (s *RotaryScaling) frequencies(dim, positions int, base float64) []float64 {
	base = s.scaledBase(dim, positions, base)
	freqs := make([]float64, dim/2)
	for i := range freqs {
		freqs[i] = fp.Power(base, float64(-2*i), float64(dim))
	}
	switch s.Type {
	case ScalingLinear:
		for i := range freqs {
			freqs[i] /= s.Factor
		}
	case ScalingYaRN:
		low, high := s.ramp(dim, base)
		for i, f := range freqs {
			freqs[i] = blend(f, f/s.Factor, (float64(i)-low)/(high-low))
		}
	case ScalingLlama3:
		for i, f := range freqs {
			turns := float64(f*float64(s.OriginalMaxPositions)) / (2 * math.Pi)
			freqs[i] = blend(f/s.Factor, f, (turns-s.LowFreqFactor)/(s.HighFreqFactor-s.LowFreqFactor))
		}
	case ScalingLongRoPE:
		_, factors := s.factors(positions)
		for i := range freqs {
			freqs[i] /= factors[i]
		}
	}
	return freqs
}

// scaledBase returns the base as the NTK-aware types scale it. In a dim of 2 the only
// frequency is 1, whatever the base.
func (s *RotaryScaling) scaledBase(dim, positions int, base float64) float64 {
	factor := 1.0
	switch s.Type {
	case ScalingNTK:
		factor = s.Factor
	case ScalingDynamic:
		original := s.OriginalMaxPositions
		factor = float64(s.Factor*float64(max(positions, original)))/float64(original) - (s.Factor - 1)
		factor = max(factor, 1) // where Factor is so large that their difference is lost
	}
	if factor == 1 || dim == 2 {
		return base
	}
	return base * fp.Power(factor, float64(dim), float64(dim-2))
}

// ramp returns between which pairs YaRN goes from whole frequencies to divided ones:
// those that turn as often in OriginalMaxPositions as its betas say.
func (s *RotaryScaling) ramp(dim int, base float64) (low, high float64) {
	pair := func(turns float64) float64 {
		return float64(dim) * ln(float64(s.OriginalMaxPositions)/(turns*(2*math.Pi))) / (2 * ln(base))
	}
	fast, slow := s.betas()
	low, high = pair(fast), pair(slow)
	if s.Truncate == nil || *s.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(dim-1))
	if low == high {
		high += 0.001
	}
	return low, high
}

// blend returns x at a t of 0 or less, y at one of 1 or more, and a mixture between.
func blend(x, y, t float64) float64 {
	switch {
	case t <= 0:
		return x
	case t >= 1:
		return y
	}
	return float64(x*(1-t)) + float64(y*t)
}
