package splice_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

func edit(start, end int, text string) splice.Edit {
	return splice.Edit{Start: start, End: end, Text: []byte(text)}
}

func TestApply(t *testing.T) {
	for _, test := range []struct {
		name  string
		edits []splice.Edit
		want  string // "" is an error
	}{
		{"nothing", nil, "0123456789"},
		{"one", []splice.Edit{edit(2, 4, "xyz")}, "01xyz456789"},
		{"insertion", []splice.Edit{edit(10, 10, "end")}, "0123456789end"},
		{"out of order", []splice.Edit{edit(8, 9, ""), edit(0, 1, "A")}, "A12345679"},
		{"adjacent", []splice.Edit{edit(2, 4, "a"), edit(4, 6, "b")}, "01ab6789"},
		{"overlapping", []splice.Edit{edit(2, 5, "a"), edit(4, 6, "b")}, ""},
		{"beyond the end", []splice.Edit{edit(9, 11, "a")}, ""},
		{"backwards", []splice.Edit{edit(5, 4, "a")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc := []byte("0123456789")
			got, err := splice.Apply(doc, test.edits)
			if (err != nil) != (test.want == "") || string(got) != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
			if string(doc) != "0123456789" {
				t.Error("the document itself was changed")
			}
		})
	}
}

func TestLifts(t *testing.T) {
	upper := func(b []byte) ([]byte, error) { return bytes.ToUpper(b), nil }
	// "a%62c" is "abc" with the middle escaped.
	escape := func(b []byte) []byte { return []byte(fmt.Sprintf("%%%02X", b)) }
	for _, test := range []struct {
		name, outer, inner string
		lift               splice.Lift
		edit               splice.Edit
		want               string
	}{
		{"shift", "[[abc]]", "abc", splice.Shift(2), edit(1, 2, "x"), "[[axc]]"},
		{"whole", "[[ABC]]", "abc", splice.Whole(2, 5, []byte("abc"), upper), edit(1, 2, "xx"), "[[AXXC]]"},
		{"mapped", "[a%62c]", "abc", splice.Mapped([]int{1, 2, 5, 6}, escape), edit(1, 2, "x"), "[a%78c]"},
		{"mapped at the end", "[a%62c]", "abc", splice.Mapped([]int{1, 2, 5, 6}, escape), edit(3, 3, "x"), "[a%62c%78]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lifted, err := test.lift([]splice.Edit{test.edit})
			if err != nil {
				t.Fatal(err)
			}
			got, err := splice.Apply([]byte(test.outer), lifted)
			if err != nil || string(got) != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := splice.Mapped([]int{0, 1}, escape)([]splice.Edit{edit(0, 2, "x")}); err == nil {
		t.Error("an edit outside of a mapped document was accepted")
	}
}

// An edit and its inverse give the document back.
func FuzzApply(f *testing.F) {
	f.Add("some text", 2, 5, "other")
	f.Fuzz(func(t *testing.T, doc string, start, end int, text string) {
		changed, err := splice.Apply([]byte(doc), []splice.Edit{edit(start, end, text)})
		if err != nil {
			return
		}
		back, err := splice.Apply(changed, []splice.Edit{edit(start, start+len(text), doc[start:end])})
		if err != nil || string(back) != doc {
			t.Errorf("got %q, %v; want %q", back, err, doc)
		}
		if !strings.HasPrefix(string(changed), doc[:start]) || !strings.HasSuffix(string(changed), doc[end:]) {
			t.Error("something outside of the edit changed")
		}
	})
}
