package npy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A value is a Python literal as a header may have it.
type value any

type (
	tuple  []value
	list   []value
	dict   []member // in the order of the text
	member struct {
		key  string
		item value
		text string // of the item
	}
	none struct{}
	// A long is an int that int64 does not hold.
	long struct{}
)

// maxNesting is how deep tuples, lists and dictionaries may lie in each other.
const maxNesting = 16

var errEnd = errors.New("it ends early")

// A parser reads literals: strings, whole numbers, True, False and None, and tuples, lists
// and dictionaries of them, keys being strings.
type parser struct {
	text string
	at   int
}

// parseDict reads the text of one dictionary.
func parseDict(text string) (dict, error) {
	p := parser{text: text}
	p.space()
	if p.peek() != '{' {
		return nil, errors.New("it is no dictionary")
	}
	x, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(text) {
		return nil, p.unexpected()
	}
	return x.(dict), nil
}

// peek returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.at == len(p.text) {
		return 0
	}
	return p.text[p.at]
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n\f", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take passes over a byte if it is next.
func (p *parser) take(b byte) bool {
	if p.at < len(p.text) && p.text[p.at] == b {
		p.at++
		return true
	}
	return false
}

func (p *parser) unexpected() error {
	if p.at >= len(p.text) {
		return errEnd
	}
	r, _ := utf8.DecodeRuneInString(p.text[p.at:])
	return fmt.Errorf("%q at byte %d is unexpected", r, p.at)
}

// value reads what begins at the parser's place, without the space around it.
func (p *parser) value(depth int) (value, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("more than %d tuples, lists and dictionaries lie in each other", maxNesting)
	}
	switch b := p.peek(); {
	case b == '{':
		return p.dict(depth)
	case b == '[':
		p.at++
		items, _, err := p.items(']', depth)
		return list(items), err
	case b == '(':
		p.at++
		items, commas, err := p.items(')', depth)
		if err == nil && len(items) == 1 && commas == 0 {
			return items[0], nil // a parenthesis
		}
		return tuple(items), err
	case b == '\'' || b == '"':
		return p.string()
	case b == '-' || b == '+' || '0' <= b && b <= '9':
		return p.number()
	}
	word := p.word()
	if word == "u" && (p.peek() == '\'' || p.peek() == '"') { // of Python 2
		return p.string()
	}
	switch word {
	case "True":
		return true, nil
	case "False":
		return false, nil
	case "None":
		return none{}, nil
	}
	p.at -= len(word)
	return nil, p.unexpected()
}

// word passes over letters, digits and underscores.
func (p *parser) word() string {
	start := p.at
	for p.at < len(p.text) {
		if b := p.text[p.at]; b != '_' && !('0' <= b && b <= '9') && !('a' <= b|0x20 && b|0x20 <= 'z') {
			break
		}
		p.at++
	}
	return p.text[start:p.at]
}

// number reads a whole number as Python writes it, with the L that Python 2 ended one in.
func (p *parser) number() (value, error) {
	start := p.at
	if !p.take('-') {
		p.take('+')
	}
	sign := p.text[start:p.at]
	digits := p.word()
	if n := len(digits); n > 1 && digits[n-1]|0x20 == 'l' {
		digits = digits[:n-1]
	}
	decimal := digits == "0" || digits != "" && '1' <= digits[0] && digits[0] <= '9'
	prefixed := len(digits) > 1 && digits[0] == '0' && strings.IndexByte("xob", digits[1]|0x20) >= 0
	n, err := strconv.ParseInt(sign+digits, 0, 64)
	switch {
	case !decimal && !prefixed, err != nil && !errors.Is(err, strconv.ErrRange):
		return nil, fmt.Errorf("%q is no whole number", p.text[start:p.at])
	case err != nil:
		return long{}, nil
	}
	return n, nil
}

// string reads a string of one line.
func (p *parser) string() (value, error) {
	quote := p.text[p.at]
	p.at++
	var b strings.Builder
	for rest := p.text[p.at:]; ; rest = p.text[p.at:] {
		switch {
		case rest == "":
			return nil, errEnd
		case rest[0] == quote:
			p.at++
			return b.String(), nil
		case rest[0] == '\n':
			return nil, p.unexpected()
		case rest[0] != '\\':
			b.WriteByte(rest[0])
			p.at++
			continue
		case len(rest) > 1 && (rest[1] == '\'' || rest[1] == '"'): // either is one in both
			b.WriteByte(rest[1])
			p.at += 2
			continue
		}
		r, _, tail, err := strconv.UnquoteChar(rest, quote)
		if err != nil {
			return nil, fmt.Errorf("the escape at byte %d is none", p.at)
		}
		b.WriteRune(r)
		p.at += len(rest) - len(tail)
	}
}

// items reads the items of a tuple or a list and its end, and counts the commas.
func (p *parser) items(end byte, depth int) (items []value, commas int, err error) {
	for {
		if p.space(); p.take(end) {
			return items, commas, nil
		}
		if len(items) > commas {
			return nil, 0, p.unexpected()
		}
		x, err := p.value(depth + 1)
		if err != nil {
			return nil, 0, err
		}
		items = append(items, x)
		if p.space(); p.take(',') {
			commas++
		}
	}
}

func (p *parser) dict(depth int) (value, error) {
	p.at++
	d := dict{}
	for comma := true; ; {
		if p.space(); p.take('}') {
			return d, nil
		}
		if !comma {
			return nil, p.unexpected()
		}
		start := p.at
		key, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("the key %s is no string", show(p.text[start:p.at]))
		}
		if p.space(); !p.take(':') {
			return nil, p.unexpected()
		}
		p.space()
		start = p.at
		item, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		d = append(d, member{name, item, p.text[start:p.at]})
		p.space()
		comma = p.take(',')
	}
}
