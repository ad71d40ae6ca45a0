package events_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/events"
)

func hash(t rapid.TB, e event.Event) string {
	t.Helper()
	h, err := events.Hash(e)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Anyone can check a history with an RFC 8785 implementation of their own and sha256sum.
func TestHashIsSHA256OfCanonicalStructuredMode(t *testing.T) {
	for _, d := range events.Catalogue() {
		for name, doc := range examples(t, d.Type) {
			if strings.HasPrefix(name, "invalid") {
				continue
			}
			e, problem := events.Parse(doc)
			if problem != nil {
				t.Fatal(problem)
			}
			c, err := jsoncanonicalizer.Transform(doc)
			if err != nil {
				t.Fatal(err)
			}
			want := sha256.Sum256(c)
			if got := hash(t, e); got != hex.EncodeToString(want[:]) {
				t.Errorf("%s/%s: got %s, want %x", d.Type.Short(), name, got, want)
			}
		}
	}
}

// Histories that exist hold this hash.
func TestHashIsForEver(t *testing.T) {
	const want = "45575056c5cb7f42e21a1e4978efa9e040aa8114f98b6547a069ae13dc6ff213"
	if got := hash(t, request(t)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHashDoesNotSeeSpelling(t *testing.T) {
	e := request(t)
	e.SetExtension("unusual", "é\u2028\"\\\t\x7f")
	want := hash(t, e)
	for name, respell := range map[string]func(*event.Event){
		"white space":    func(e *event.Event) { e.DataEncoded = indent(t, e.Data()) },
		"order of names": func(e *event.Event) { e.DataEncoded = reversed(t, e.Data()) },
		"escapes": func(e *event.Event) {
			e.DataEncoded = []byte(strings.ReplaceAll(string(e.Data()), `"through"`, `"\u0074hrough"`))
		},
		"binary flag": func(e *event.Event) { e.DataBase64 = true },
		"round trip": func(e *event.Event) {
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b, e); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := e.Clone()
			respell(&e)
			if got := hash(t, e); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestHashSeesNoTypeOfAttribute(t *testing.T) {
	typed, text := request(t), request(t)
	typed.SetExtension("flag", true)
	typed.SetExtension("count", 7)
	text.SetExtension("flag", "true")
	text.SetExtension("count", "7")
	if hash(t, typed) != hash(t, text) {
		t.Error("binary mode, which turns attributes into text, would break the chain")
	}
}

func TestHashRefusesAPayloadWithoutCanonicalForm(t *testing.T) {
	for _, data := range []string{`{"a":1,"a":2}`, `{`, ``} {
		e := request(t)
		e.DataEncoded = []byte(data)
		if h, err := events.Hash(e); err == nil {
			t.Errorf("%q has hash %s", data, h)
		}
	}
}

func indent(t *testing.T, doc []byte) []byte {
	b, err := json.MarshalIndent(tree(t, doc), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reversed spells the top-level fields of an object in falling order.
func reversed(t *testing.T, doc []byte) []byte {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc, &fields); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for name, value := range fields {
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	slices.SortFunc(parts, func(a, b string) int { return strings.Compare(b, a) })
	return []byte("{" + strings.Join(parts, ",") + "}")
}

// Change any byte of an event: it is refused, or it means the same (then it has the same hash), or its hash differs.
func TestHashSeesEveryChangedByte(t *testing.T) {
	doc := valid(t, events.TypeSeedpullCompleted)
	original, problem := events.Parse(doc)
	if problem != nil {
		t.Fatal(problem)
	}
	was, wasTree := hash(t, original), canonicalText(t, doc)
	rapid.Check(t, func(r *rapid.T) {
		changed := slices.Clone(doc)
		changed[rapid.IntRange(0, len(doc)-1).Draw(r, "at")] ^= byte(rapid.IntRange(1, 255).Draw(r, "bits"))
		e, problem := events.Parse(changed)
		if problem != nil {
			return
		}
		if same := canonicalText(t, changed) == wasTree; same != (hash(r, e) == was) {
			r.Fatalf("means the same: %v, but the hash does not agree: %s", same, changed)
		}
	})
}

func canonicalText(t *testing.T, doc []byte) string {
	c, err := jsoncanonicalizer.Transform(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(c)
}

// history links the valid examples of all types to a chain.
func history(t *testing.T) (chain []event.Event) {
	prev := ""
	for i, d := range events.Catalogue() {
		e, problem := events.Parse(valid(t, d.Type))
		if problem != nil {
			t.Fatal(problem)
		}
		e.SetExtension(events.ExtSequence, fmt.Sprintf("%020d", i+1))
		e.SetExtension(events.ExtPrevHash, prev)
		prev = hash(t, e)
		chain = append(chain, e)
	}
	return chain
}

// verify is what a reader of a history does.
func verify(t rapid.TB, chain []event.Event) (seq uint64, err error) {
	prev := ""
	for i, e := range chain {
		if err := events.Link(e, uint64(i+1), prev); err != nil {
			return uint64(i + 1), err
		}
		prev = hash(t, e)
	}
	return 0, nil
}

func TestLinkDetectsDamage(t *testing.T) {
	whole := history(t)
	if at, err := verify(t, whole); err != nil {
		t.Fatalf("a whole chain is broken at %d: %v", at, err)
	}
	at, last := 7, len(whole)-1
	for _, c := range []struct {
		name   string
		damage func([]event.Event) []event.Event
		want   uint64 // where it shows
	}{
		{"payload edited", func(h []event.Event) []event.Event {
			h[at].DataEncoded = []byte(strings.Replace(string(h[at].Data()), "4.19.3", "4.19.4", 1))
			return h
		}, uint64(at + 2)},
		{"attribute edited", func(h []event.Event) []event.Event { h[at].SetSource("/clusters/edge-1/users/mallory"); return h }, uint64(at + 2)},
		{"attribute added", func(h []event.Event) []event.Event { h[at].SetExtension("approved", "yes"); return h }, uint64(at + 2)},
		{"dropped", func(h []event.Event) []event.Event { return slices.Delete(h, at, at+1) }, uint64(at + 1)},
		{"first dropped", func(h []event.Event) []event.Event { return h[1:] }, 1},
		{"inserted", func(h []event.Event) []event.Event { return slices.Insert(h, at, h[at]) }, uint64(at + 2)},
		{"swapped", func(h []event.Event) []event.Event { h[at], h[at+1] = h[at+1], h[at]; return h }, uint64(at + 1)},
		{"renumbered", func(h []event.Event) []event.Event {
			h[last].SetExtension(events.ExtSequence, fmt.Sprintf("%020d", last))
			return h
		}, uint64(last + 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain := make([]event.Event, len(whole))
			for i, e := range whole {
				chain[i] = e.Clone()
			}
			got, err := verify(t, c.damage(chain))
			if got != c.want {
				t.Errorf("shows at %d (%v), want %d", got, err, c.want)
			}
			if broken := (*events.ChainError)(nil); !errors.As(err, &broken) || broken.Sequence != got {
				t.Errorf("error is %v, want a ChainError at %d", err, got)
			}
		})
	}
}
