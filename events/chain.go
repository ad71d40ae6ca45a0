package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
)

// Hash is the SHA-256, in hex, of the canonical JSON (RFC 8785) of the event in structured mode, every attribute a
// string. The event's own prevhash extension is part of it, which makes a history a chain. It is the same however the
// event travelled: binary mode turns every attribute into a string and forgets how the payload was spelt.
func Hash(e event.Event) (string, error) {
	c, err := canonical(e)
	if err != nil {
		return "", fmt.Errorf("cannot canonicalize event %s: %w", e.ID(), err)
	}
	h := sha256.Sum256(c)
	return hex.EncodeToString(h[:]), nil
}

func canonical(e event.Event) ([]byte, error) {
	data, err := jsoncanonicalizer.Transform(e.Data())
	if err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	attributes := map[string]string{
		"specversion": e.SpecVersion(), "id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(),
		"datacontenttype": e.DataContentType(), "dataschema": e.DataSchema(),
	}
	if !e.Time().IsZero() {
		attributes["time"] = types.FormatTime(e.Time())
	}
	maps.DeleteFunc(attributes, func(_, v string) bool { return v == "" })
	for name, v := range e.Extensions() {
		if attributes[name], err = types.Format(v); err != nil {
			return nil, fmt.Errorf("extension attribute %s: %w", name, err)
		}
	}
	names := append(slices.Collect(maps.Keys(attributes)), "data")
	slices.Sort(names)
	b := make([]byte, 0, 1024+len(data))
	for i, name := range names {
		b = append(b, `{,`[min(i, 1)])
		b = append(appendString(b, name), ':')
		if name == "data" {
			b = append(b, data...)
		} else {
			b = appendString(b, attributes[name])
		}
	}
	return append(b, '}'), nil
}

// appendString appends s as a JSON string, with no more escapes than RFC 8785 §3.2.2.2 asks for.
func appendString(b []byte, s string) []byte {
	if strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' || r == utf8.RuneError }) < 0 {
		return append(append(append(b, '"'), s...), '"')
	}
	array, _ := json.Marshal([]string{s})
	array, _ = jsoncanonicalizer.Transform(array) // of what was just marshalled: cannot fail
	return append(b, array[1:len(array)-1]...)
}

// ChainError says where the hash chain of a history is broken, and how.
type ChainError struct {
	Sequence  uint64 // ordinal of the event that does not fit
	Attribute string // of that event: [ExtPrevHash] or [ExtSequence]
	Want      string // what the events before it demand
	Got       string // what it says
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("hash chain is broken at event %d: its %s is %.128q, but the events before it demand %q", e.Sequence, e.Attribute, e.Got, e.Want)
}

// Link checks that e is event number seq of a history and follows the event whose hash is prev ("" before the first).
// The error is a [*ChainError].
func Link(e event.Event, seq uint64, prev string) error {
	if got := ext(e, ExtPrevHash); got != prev {
		return &ChainError{Sequence: seq, Attribute: ExtPrevHash, Want: prev, Got: got}
	}
	if Sequence(e) != seq {
		return &ChainError{Sequence: seq, Attribute: ExtSequence, Want: fmt.Sprintf("%020d", seq), Got: ext(e, ExtSequence)}
	}
	return nil
}
