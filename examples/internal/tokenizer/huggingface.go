package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/qkv-go/qkv/examples/internal/bounded"
)

// maxFile bounds the bytes of a tokenizer.json, of which the largest have some 35 MB.
const maxFile = 64 << 20

// OpenHuggingFace returns the tokenizer of a model's folder: its tokenizer.json, and the names of BOS and EOS in its
// tokenizer_config.json, if it has that.
func OpenHuggingFace(folder string) (*Tokenizer, error) {
	data, err := bounded.ReadFile(filepath.Join(folder, "tokenizer.json"), maxFile)
	if err != nil {
		return nil, err
	}
	config, err := bounded.ReadFile(filepath.Join(folder, "tokenizer_config.json"), bounded.Config)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t, err := FromHuggingFace(data, config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, err)
	}
	return t, nil
}

// FromHuggingFace returns the tokenizer of a tokenizer.json and of a tokenizer_config.json, which may be nil. The
// error names what is missing or not supported.
func FromHuggingFace(data, config []byte) (*Tokenizer, error) {
	var f hfFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := f.tokenizer()
	if err == nil && config != nil {
		err = t.configure(config)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

// An hfFile is what counts of a tokenizer.json.
type hfFile struct {
	Added []struct {
		ID      int64  `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
		Left    bool   `json:"lstrip"`
		Right   bool   `json:"rstrip"`
		Word    bool   `json:"single_word"`
		Normal  bool   `json:"normalized"`
	} `json:"added_tokens"`
	Normalizer    *hfPart `json:"normalizer"`
	PreTokenizer  *hfPart `json:"pre_tokenizer"`
	PostProcessor *hfPart `json:"post_processor"`
	Model         struct {
		Type         string           `json:"type"`
		Vocab        map[string]int64 `json:"vocab"`
		Merges       []hfMerge        `json:"merges"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
		Unknown      string           `json:"unk_token"`
		Continuing   string           `json:"continuing_subword_prefix"`
		EndOfWord    string           `json:"end_of_word_suffix"`
		Dropout      float64          `json:"dropout"`
	} `json:"model"`
}

// An hfPart is a normalizer, a pre-tokenizer or a post-processor, or a sequence of these.
type hfPart struct {
	Type          string  `json:"type"`
	Normalizers   hfParts `json:"normalizers"`
	PreTokenizers hfParts `json:"pretokenizers"`
	Processors    hfParts `json:"processors"`

	Pattern struct {
		Regex  string
		String string
	} `json:"pattern"`
	Content  string `json:"content"` // of what a pattern is replaced by
	Prepend  string `json:"prepend"`
	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`

	AddPrefixSpace   bool   `json:"add_prefix_space"` // of ByteLevel
	UseRegex         *bool  `json:"use_regex"`
	IndividualDigits bool   `json:"individual_digits"`
	Replacement      string `json:"replacement"` // of Metaspace
	PrependScheme    string `json:"prepend_scheme"`
	Split            *bool  `json:"split"`

	Single []struct { // of a template
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
}

// hfParts are those of a sequence: a few, of which a file could say millions.
type hfParts []hfPart

func (p *hfParts) UnmarshalJSON(data []byte) error {
	const most = 64
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return err // null
	}
	for *p = nil; d.More(); {
		if len(*p) == most {
			return fmt.Errorf("a sequence has more than %d parts", most)
		}
		var part hfPart
		if err := d.Decode(&part); err != nil {
			return err
		}
		*p = append(*p, part)
	}
	return nil
}

// parts are those of a sequence, or the part itself.
func (p *hfPart) parts() []hfPart {
	switch {
	case p == nil:
		return nil
	case p.Type == "Sequence":
		return slices.Concat(p.Normalizers, p.PreTokenizers, p.Processors)
	}
	return []hfPart{*p}
}

// An hfMerge is a text with a space between the two parts, as older files have it, or a list of both.
type hfMerge [2]string

func (m *hfMerge) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		var both []string
		if err := json.Unmarshal(data, &both); err != nil {
			return err
		}
		if len(both) != 2 || both[0] == "" || both[1] == "" {
			return fmt.Errorf("a merge of %d parts, two that are not empty are needed", len(both))
		}
		*m = hfMerge(both)
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	left, right, ok := cutMerge(s)
	if !ok {
		return fmt.Errorf("merge %.40q, two parts with a space between them are needed", s)
	}
	*m = hfMerge{left, right}
	return nil
}

func (f *hfFile) tokenizer() (*Tokenizer, error) {
	if f.Model.Type != "BPE" {
		return nil, fmt.Errorf("model.type is %.40q, BPE is supported", f.Model.Type)
	}
	if m := &f.Model; m.Continuing != "" || m.EndOfWord != "" || m.Dropout != 0 {
		return nil, errors.New("continuing_subword_prefix, end_of_word_suffix and dropout are not supported")
	}
	tokens, types, err := f.tokens()
	if err != nil {
		return nil, err
	}
	t := newTokenizer(tokens, types)
	t.strips = map[int32]strip{}
	for _, x := range f.Added {
		if x.Word {
			return nil, fmt.Errorf("token %.40q has single_word, which is not supported", x.Content)
		}
		if x.Normal && !x.Special { // special ones are not in what a user writes
			return nil, fmt.Errorf("token %.40q has normalized, which is not supported of one that is not special", x.Content)
		}
		t.strips[int32(x.ID)] = strip{x.Left, x.Right}
	}
	absent := none
	if id, ok := t.ids[f.Model.Unknown]; ok && f.Model.Unknown != "" {
		absent = id
	}
	ranks := make(ranks, len(f.Model.Merges))
	for _, m := range f.Model.Merges {
		ranks.add(m[0], m[1])
	}
	prefix, spaces, err := f.normalizer(t)
	if err != nil {
		return nil, err
	}
	split, prefix, spaces, err := f.splitter(prefix, spaces)
	switch {
	case err != nil:
		return nil, err
	case split != nil && spaces:
		return nil, errors.New("the bytes of a text are characters, and its spaces are replaced")
	case split != nil:
		t.model = newBPE(t, ranks, split, f.Model.IgnoreMerges, absent)
	case !spaces:
		return nil, errors.New("neither the bytes of a text nor its spaces become characters of the vocabulary")
	default:
		s := newSentencePiece(t, ranks.of, prefix, none)
		if !f.Model.ByteFallback || slices.Contains(s.bytes[:], none) {
			return nil, errors.New("characters that are no tokens need byte_fallback, and a token for each byte")
		}
		for _, p := range f.PreTokenizer.parts() {
			s.once = s.once || p.Type == "Metaspace"
		}
		t.model = s
	}
	for _, p := range f.PostProcessor.parts() {
		switch p.Type {
		case "ByteLevel": // of where tokens are in a text
		case "TemplateProcessing":
			for i, x := range p.Single {
				if x.SpecialToken == nil {
					continue
				}
				id, ok := t.ids[x.SpecialToken.ID]
				if i > 0 || !ok {
					return nil, fmt.Errorf("the template has %.40q as its part %d, one token before a text is supported", x.SpecialToken.ID, i)
				}
				t.BOS, t.AddBOS = id, true
			}
		default:
			return nil, fmt.Errorf("post_processor %.40q is not supported", p.Type)
		}
	}
	return t, nil
}

// tokens returns the vocabulary, by ids. Those that no token has are empty.
func (f *hfFile) tokens() (tokens []string, types []int64, err error) {
	const holes = 1 << 16 // that a file may have
	n := int64(len(f.Model.Vocab))
	if n == 0 {
		return nil, nil, errors.New("model.vocab has no token")
	}
	most := n + int64(len(f.Added)) + holes
	add := func(id int64, token string, typ int64) {
		if err != nil {
			return
		}
		if id < 0 || id >= most {
			err = fmt.Errorf("token %.40q is %d, the file has %d", token, id, n+int64(len(f.Added)))
			return
		}
		for int64(len(tokens)) <= id {
			tokens, types = append(tokens, ""), append(types, normalToken)
		}
		if had := tokens[id]; had != "" && had != token {
			err = fmt.Errorf("tokens %.40q and %.40q are both %d", min(had, token), max(had, token), id)
			return
		}
		tokens[id], types[id] = token, typ
	}
	for token, id := range f.Model.Vocab {
		typ := int64(normalToken)
		if f.Model.ByteFallback {
			if _, ok := byteOf(token); ok {
				typ = byteToken
			}
		}
		add(id, token, typ)
	}
	for _, x := range f.Added {
		typ := int64(userDefinedToken)
		if x.Special {
			typ = controlToken
		}
		add(x.ID, x.Content, typ)
	}
	return tokens, types, err
}

// normalizer reads what is done to a text first: where a space is put before it, and whether spaces are replaced.
func (f *hfFile) normalizer(t *Tokenizer) (prefix prefix, spaces bool, err error) {
	for _, p := range f.Normalizer.parts() {
		switch {
		case p.Type == "NFC":
			t.compose = nfc
		case p.Type == "Prepend" && p.Prepend == space:
			prefix = anyPrefix
		case p.Type == "Replace" && p.Pattern.String == " " && p.Content == space:
			spaces = true
		default:
			return 0, false, fmt.Errorf("normalizer %.40q is not supported as it is there", p.Type)
		}
	}
	return prefix, spaces, nil
}

// hfSplits are the expressions of pre-tokenizers.
var hfSplits = map[string]splitter{
	gpt2Pattern: by(gpt2),
	strings.Replace(llama3Pattern, "%d", "3", 1):    by(llama3(3, anyUnicode)),
	strings.Replace(llama3Pattern, "{1,%d}", "", 1): by(llama3(1, anyUnicode)),
	o200kPattern: by(o200k(anyUnicode)),
}

const (
	gpt2Pattern   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,%d}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	o200kPattern  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// splitter reads how a text is cut before it is merged: nil is not at all, where characters of the vocabulary are those
// of texts and not bytes. Metaspace does what normalizers of other files do.
func (f *hfFile) splitter(before prefix, replaced bool) (split splitter, prefix prefix, spaces bool, err error) {
	prefix, spaces = before, replaced
	digits, byBytes := false, false
	for _, p := range f.PreTokenizer.parts() {
		switch {
		case byBytes:
			return nil, 0, false, fmt.Errorf("pre_tokenizer %.40q behind ByteLevel is not supported", p.Type)
		case p.Type == "Digits" && p.IndividualDigits && split == nil:
			digits = true
		case p.Type == "Split" && p.Pattern.Regex != "" && p.Behavior == "Isolated" && !p.Invert && split == nil && !digits:
			if split = hfSplits[p.Pattern.Regex]; split == nil {
				return nil, 0, false, fmt.Errorf("pre_tokenizer splits by %.60q, which is not supported", p.Pattern.Regex)
			}
		case p.Type == "Split" && p.Pattern.String == " " && spaces: // of which there are none left
		case p.Type == "ByteLevel" && !p.AddPrefixSpace:
			byBytes = true
			whole := p.UseRegex == nil || *p.UseRegex
			switch {
			case digits && whole:
				split = digitsFirst
			case split == nil && whole:
				split = by(gpt2)
			case split == nil || whole:
				return nil, 0, false, errors.New("pre_tokenizer splits a text by no expression, or by two")
			}
		case p.Type == "Metaspace" && p.Replacement == space && p.Split != nil && !*p.Split:
			spaces = true
			switch p.PrependScheme {
			case "always", "":
				prefix = anyPrefix
			case "first":
				prefix = firstPrefix
			case "never":
			default:
				return nil, 0, false, fmt.Errorf("prepend_scheme %.40q is not supported", p.PrependScheme)
			}
		default:
			return nil, 0, false, fmt.Errorf("pre_tokenizer %.40q is not supported as it is there", p.Type)
		}
	}
	if (split != nil || digits) && !byBytes {
		return nil, 0, false, errors.New("pre_tokenizer splits a text, and does not make its bytes characters")
	}
	return split, prefix, spaces, nil
}

// configure takes the names of BOS and EOS.
func (t *Tokenizer) configure(data []byte) error {
	var config struct {
		BOS hfName `json:"bos_token"`
		EOS hfName `json:"eos_token"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return err
	}
	for _, x := range []struct {
		key, name string
		to        *int32
	}{{"bos_token", string(config.BOS), &t.BOS}, {"eos_token", string(config.EOS), &t.EOS}} {
		if x.name == "" {
			continue
		}
		id, ok := t.ids[x.name]
		if !ok {
			return fmt.Errorf("%s is %.40q, which is no token", x.key, x.name)
		}
		if t.AddBOS && x.to == &t.BOS { // the template's
			continue
		}
		*x.to = id
	}
	if t.EOS != none {
		t.ends[t.EOS] = true
	}
	return nil
}

// An hfName is the name of a token, or an object that has it.
type hfName string

func (n *hfName) UnmarshalJSON(data []byte) error {
	var x struct {
		Content string `json:"content"`
	}
	if len(data) > 0 && data[0] == '{' {
		err := json.Unmarshal(data, &x)
		*n = hfName(x.Content)
		return err
	}
	return json.Unmarshal(data, (*string)(n))
}
