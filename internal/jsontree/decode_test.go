package jsontree

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"
)

type inner struct {
	N    int64     `json:"n"`
	List []float64 `json:"list"`
}

type outer struct {
	Name   string    `json:"name"`
	OK     bool      `json:"ok"`
	Small  int8      `json:"small,omitempty"`
	Time   time.Time `json:"time"`
	Inners []inner   `json:"inners"`
	Maybe  *inner    `json:"maybe,omitempty"`
	Hidden int
}

func TestDecode(t *testing.T) {
	want := outer{
		Name: "a", OK: true, Small: -3, Time: time.Date(2024, 2, 29, 1, 2, 3, 0, time.UTC),
		Inners: []inner{{1 << 53, []float64{1.5, -2e9}}, {-7, []float64{}}}, Maybe: &inner{N: 5, List: []float64{0}},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Parse(text, 5)
	if err != nil {
		t.Fatal(err)
	}
	var got outer
	if err := Decode(o, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, error %v, want %+v", got, err, want)
	}
}

func TestDecodeErrors(t *testing.T) {
	const rest = `"name": "", "ok": true, "time": "2024-02-29T01:02:03Z"`
	for _, c := range []struct{ text, want string }{
		{`{}`, "name: it is missing"},
		{`{"name": 3}`, "name: it is 3, a string is needed"},
		{`{"name": "a", "ok": "yes"}`, `ok: it is "yes", true or false is needed`},
		{`{"name": "a", "ok": true, "small": 200}`, "small: it is 200, an integer is needed"},
		{`{"name": "a", "ok": true, "time": "today"}`, `time: it is "today", a time of RFC 3339 is needed`},
		{`{` + rest + `, "inners": {}}`, "inners: it is an object, an array is needed"},
		{`{` + rest + `, "inners": [{"n": 1, "list": []}, []]}`, "inners[1]: it is an array, an object is needed"},
		{`{` + rest + `, "inners": [{"n": 1.5}]}`, "inners[0].n: it is 1.5, an integer is needed"},
		{`{` + rest + `, "inners": [{"n": 1e300}]}`, "inners[0].n: it is 1e+300, an integer is needed"},
		{`{` + rest + `, "inners": [{"n": 1, "list": [1, null]}]}`, "inners[0].list[1]: it is null, a number is needed"},
		{`{` + rest + `, "inners": [], "maybe": {"n": 1}}`, "maybe.list: it is missing"},
	} {
		o, err := Parse([]byte(c.text), 5)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(o, new(outer)); !errors.As(err, new(*FieldError)) || err.Error() != c.want {
			t.Errorf("%s: error %v, want %s", c.text, err, c.want)
		}
	}
	for _, c := range []struct{ text, want, exact string }{
		{`{` + rest + `, "inners": [{"n": 1, "list": null}]}`, "", "inners[0].list: it is null, an array is needed"},
		{`{` + rest + `, "inners": null}`, "", "inners: it is null, an array is needed"},
		{`{` + rest + `, "inners": [], "small": null}`, "small: it is null, an integer is needed", "small: it is null, an integer is needed"},
		{`{` + rest + `, "inners": [], "more": 1}`, "", "more: it is not known"},
		{`{` + rest + `, "inners": [], "OK": true}`, "", "OK: it is not known"},
		{`{` + rest + `, "inners": [{"n": 1, "list": [], "m": 1}]}`, "", "inners[0].m: it is not known"},
		{`{` + rest + `, "inners": []}`, "", ""},
	} {
		o, err := Parse([]byte(c.text), 5)
		if err != nil {
			t.Fatal(err)
		}
		for want, err := range map[*string]error{&c.want: Decode(o, new(outer)), &c.exact: DecodeExact(o, new(outer))} {
			if *want == "" && err != nil || *want != "" && (err == nil || err.Error() != *want) {
				t.Errorf("%s: error %v, want %q", c.text, err, *want)
			}
		}
	}
}
