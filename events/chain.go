package events

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
)

// Hash is the SHA-256, in hex, of the canonical JSON (RFC 8785) of the event in structured mode. The event's own
// prevhash extension is part of it, which makes a history a chain.
func Hash(e event.Event) (string, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("cannot encode event %s: %w", e.ID(), err)
	}
	c, err := jsoncanonicalizer.Transform(b)
	if err != nil {
		return "", fmt.Errorf("cannot canonicalize event %s: %w", e.ID(), err)
	}
	h := sha256.Sum256(c)
	return hex.EncodeToString(h[:]), nil
}

// ChainError says where the hash chain of a history is broken.
type ChainError struct {
	Sequence uint64 // ordinal of the event whose predecessor does not match
	Want     string // hash of the predecessor as it is
	Got      string // prevhash as the event says
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("hash chain is broken at event %d: it follows %.12s…, but the event before it is %.12s…", e.Sequence, e.Got, e.Want)
}

// Link checks that e is event number seq and follows the event whose hash is prev.
func Link(e event.Event, seq uint64, prev string) error {
	if got := ext(e, ExtPrevHash); got != prev {
		return &ChainError{Sequence: seq, Want: prev, Got: got}
	}
	if got := Sequence(e); got != seq {
		return fmt.Errorf("hash chain is broken: event %d says that it is number %d", seq, got)
	}
	return nil
}
