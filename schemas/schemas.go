// Package schemas holds the contracts of Reroot's events as JSON Schema 2020-12: one file per event type and version
// in events/, shared definitions in defs.json, the envelope in envelope.json, and for each type examples that must
// and must not validate in examples/. Everything is embedded, so that a binary needs no files to check an event.
//
// An example is a whole event in structured mode, ready to be published, and says in its name how it fares:
// valid[-<what it shows>].json, or invalid-<path of the one problem>-<what is wrong>.json.
//
// Each contract lists all properties of its payload itself and refers to defs.json for what they may hold. Composing
// payloads with allOf and unevaluatedProperties would be shorter, but a validator then reports every property of a
// branch in which one is wrong as unknown, and a person reads a page of complaints about one typing error.
package schemas

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Base is the URI below which every schema's $id lies.
const Base = "https://reroot.dev/schemas/"

// FS holds the schema files as they are in this folder.
//
//go:embed defs.json envelope.json events examples
var FS embed.FS

// Name is the file name, without .json, of the schema of an event type: upgrade.requested.v1.
func Name(eventType, prefix string) string { return strings.TrimPrefix(eventType, prefix) }

// Validate checks a payload against the schema of the event type with that name and reports the problems, at most
// [MaxProblems] of them, sorted by path. The caller bounds the size of doc.
func Validate(name string, doc []byte) []Problem {
	file := "events/" + name + ".json"
	if _, known := library.schemas.Load(file); !known {
		if _, err := fs.Stat(FS, file); err != nil {
			return []Problem{{Message: "there is no contract " + name}}
		}
	}
	return validate(file, doc)
}

// ValidateEnvelope checks an event in structured mode (CloudEvents JSON format) against envelope.json, which says
// nothing about its data but that it is an object. It reports as [Validate] does.
func ValidateEnvelope(doc []byte) []Problem { return validate("envelope.json", doc) }

func validate(file string, doc []byte) []Problem {
	s, err := compiled(file)
	if err != nil {
		return []Problem{{Message: err.Error()}}
	}
	// Numbers become float64, as canonical JSON (RFC 8785) has them. Arbitrary precision would let a writer
	// make the validator compute with 1e999999.
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return []Problem{{Message: fmt.Sprintf("not JSON: %v", err)}}
	}
	err = s.Validate(v)
	var ve *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ve):
		return problems(ve, v)
	default:
		return []Problem{{Message: err.Error()}}
	}
}

// library compiles schemas when they are first asked for, and keeps them.
var library = struct {
	sync.Mutex
	compiler func() (*jsonschema.Compiler, error)
	schemas  sync.Map // URI below Base → *jsonschema.Schema
}{compiler: sync.OnceValues(newCompiler)}

// compiled is the schema at a URI below Base; the URI may end in a JSON pointer: defs.json#/$defs/commit.
func compiled(uri string) (*jsonschema.Schema, error) {
	if s, ok := library.schemas.Load(uri); ok {
		return s.(*jsonschema.Schema), nil
	}
	c, err := library.compiler()
	if err != nil {
		return nil, err
	}
	library.Lock() // a Compiler is not safe for concurrent use
	defer library.Unlock()
	s, err := c.Compile(Base + uri)
	if err != nil {
		return nil, fmt.Errorf("cannot compile schema %s: %w", uri, err)
	}
	library.schemas.Store(uri, s)
	return s, nil
}

func newCompiler() (*jsonschema.Compiler, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	err := fs.WalkDir(FS, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(p) != ".json" || strings.HasPrefix(p, "examples/") {
			return err
		}
		f, err := FS.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		doc, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			return fmt.Errorf("cannot read schema %s: %w", p, err)
		}
		return c.AddResource(Base+p, doc)
	})
	return c, err
}
