package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"knative.dev/pkg/apis"

	"github.com/reroot-dev/reroot/schemas"
)

// Bounds of one event, in bytes.
const (
	MaxData      = 256 << 10 // of its payload
	MaxID        = 256       // of its id
	MaxAttribute = 1024      // of any extension attribute
	maxDocument  = MaxData + 64<<10
)

// Problem is why an event is invalid: a reason and every field that is wrong, not just the first.
type Problem struct {
	Reason Reason
	Fields *apis.FieldError
}

// Error is the reason and the list in one line: "InvalidEvent: data.spec.seedImageRef.version: missing; subject: …".
func (p *Problem) Error() string { return string(p.Reason) + ": " + strings.Join(p.List(), "; ") }

// List says what is wrong, one "path: message" for each field, sorted by path. Paths are those of the event in
// structured mode, so payload fields begin with "data.".
func (p *Problem) List() []string {
	var list []string
	for _, f := range p.Fields.WrappedErrors() {
		for _, path := range f.Paths {
			list = append(list, schemas.Problem{Path: path, Message: f.Message}.String())
		}
	}
	slices.Sort(list)
	return list
}

// findings collects what is wrong, by path; the first finding about a path stays.
type findings map[string]string

func (f findings) add(path, format string, args ...any) {
	if _, known := f[path]; !known {
		f[path] = fmt.Sprintf(format, args...)
	}
}

func (f findings) problem(reason Reason) *Problem {
	if len(f) == 0 {
		return nil
	}
	var all *apis.FieldError
	for _, path := range slices.Sorted(maps.Keys(f)) {
		all = all.Also(&apis.FieldError{Message: f[path], Paths: []string{path}})
	}
	return &Problem{reason, all}
}

// Validate checks envelope and payload against the type's definition and schema, and reports all problems at once. It
// does not look at the attributes that appending sets. What it lets pass can be decoded ([Decode]) and hashed ([Hash]).
func Validate(e event.Event) *Problem {
	d, ok := Lookup(TypeOf(e))
	if !ok {
		return unknownType(TypeOf(e))
	}
	found := findings{}
	checkEnvelope(e, found)
	checkData(d, e.Data(), found)
	return found.problem(ReasonInvalidEvent)
}

// Parse reads an event in structured mode (CloudEvents JSON format), as a file or a request body holds it, and
// validates it. The caller bounds how much is read; a document that is too long for any event is refused.
func Parse(doc []byte) (event.Event, *Problem) {
	var e event.Event
	found := findings{}
	if len(doc) > maxDocument {
		found.add("", "the event has %d bytes; at most %d are accepted", len(doc), maxDocument)
		return e, found.problem(ReasonInvalidEvent)
	}
	// The SDK stops at the first attribute that it cannot read. The envelope's schema finds them all.
	for _, p := range schemas.ValidateEnvelope(doc) {
		found.add(p.Path, "%s", p.Message)
	}
	var raw struct {
		Type Type            `json:"type"`
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(doc, &raw) == nil && raw.Type != "" {
		d, ok := Lookup(raw.Type)
		if !ok {
			return e, unknownType(raw.Type)
		}
		if raw.Data != nil {
			checkData(d, raw.Data, found)
		}
	}
	if err := json.Unmarshal(doc, &e); err == nil {
		checkEnvelope(e, found)
	} else if len(found) == 0 {
		found.add("", "not a CloudEvent: %v", err)
	}
	return e, found.problem(ReasonInvalidEvent)
}

func unknownType(t Type) *Problem {
	found := findings{}
	found.add("type", "not in the catalogue (see schemas/events): %.128q", string(t))
	return found.problem(ReasonUnknownType)
}

func checkEnvelope(e event.Event, found findings) {
	expect := func(ok bool, attribute, got, must string) {
		if !ok {
			found.add(attribute, "must %s, not %.128q", must, got)
		}
	}
	id, cluster, upgrade := e.ID(), Cluster(e), e.Subject()
	expect(e.SpecVersion() == event.CloudEventsVersionV1, "specversion", e.SpecVersion(), "be 1.0")
	expect(id != "" && len(id) <= MaxID, "id", id, "have 1 to 256 bytes")
	expect(ValidCluster(cluster), ExtPartitionKey, cluster, "be the cluster's name, a DNS label")
	expect(ValidUpgrade(upgrade), "subject", upgrade, "be the upgrade's id, a DNS label")
	expect(e.DataContentType() == event.ApplicationJSON, "datacontenttype", e.DataContentType(), "be application/json")
	if source, prefix := e.Source(), Source(cluster, ""); ValidCluster(cluster) {
		expect(strings.HasPrefix(source, prefix) && Writer(source) != "", "source", source,
			"be "+prefix+" and functions/<name>, users/<id>, node, source or runtime")
	}
	if uri, want := e.DataSchema(), SchemaURI(TypeOf(e)); uri != "" {
		expect(uri == want, "dataschema", uri, "be "+want)
	}
	if id := ext(e, ExtCorrelation); id != "" && ValidUpgrade(upgrade) {
		expect(id == upgrade, ExtCorrelation, id, "be the upgrade's id, as subject is")
	}
	if expiry := ext(e, ExtExpiry); expiry != "" {
		_, err := time.Parse(time.RFC3339Nano, expiry)
		expect(err == nil, ExtExpiry, expiry, "be an RFC 3339 time")
	}
	for name := range e.Extensions() {
		value := ext(e, name)
		expect(len(value) <= MaxAttribute, name, value, "have at most 1024 bytes")
	}
	var invalid event.ValidationError
	if err := e.Validate(); errors.As(err, &invalid) {
		for attribute, err := range invalid {
			found.add(attribute, "%v", err)
		}
	}
}

func checkData(d Definition, data []byte, found findings) {
	if len(data) > MaxData {
		found.add("data", "must have at most %d bytes, not %d", MaxData, len(data))
		return
	}
	problems := schemas.Validate(schemas.Name(string(d.Type), Prefix), data)
	for _, p := range problems {
		found.add(inData(p.Path), "%s", p.Message)
	}
	if len(problems) > 0 {
		return
	}
	// JSON Schema sees values, not text: it takes 1.0 for an integer and the last of two equal names. Neither decodes
	// or hashes the same everywhere.
	if err := decodeStrict(data, d.Payload()); err != nil {
		found.add("data", "%v", err)
	}
}

func inData(path string) string {
	if path == "" || strings.HasPrefix(path, "[") {
		return "data" + path
	}
	return "data." + path
}

// SchemaURI is the dataschema of a type.
func SchemaURI(t Type) string { return SchemaBase + schemas.Name(string(t), Prefix) + ".json" }
