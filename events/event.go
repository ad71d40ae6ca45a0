package events

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Extension attributes. All but the node's own are from the CloudEvents documented extensions or follow their style.
const (
	ExtCorrelation  = "correlationid" // upgrade id
	ExtCausation    = "causationid"   // id of the event that caused this one
	ExtSequence     = "sequence"      // ordinal in the cluster's history, 20 digits, set on append
	ExtPartitionKey = "partitionkey"  // cluster
	ExtTraceParent  = "traceparent"   // W3C trace context
	ExtRecorded     = "recordedtime"  // when it was appended
	ExtPrevHash     = "prevhash"      // hash of the event before it in the history; empty for the first
	ExtExpiry       = "expirytime"    // requests: not to be acted upon later
	ExtNodeSequence = "nodesequence"  // facts: ordinal in the node's own outbox
	ExtNodePrevHash = "nodeprevhash"  // facts: hash of the node's fact before it
)

// SchemaBase is the base of every dataschema URI.
const SchemaBase = "https://reroot.dev/schemas/events/"

var (
	clusterName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	upgradeID   = clusterName
)

// ValidCluster says whether name may be a cluster's name: a DNS label, so that it is one token of a subject.
func ValidCluster(name string) bool { return clusterName.MatchString(name) }

// ValidUpgrade says whether id may be an upgrade's id: a DNS label.
func ValidUpgrade(id string) bool { return upgradeID.MatchString(id) }

// Source is the CloudEvents source of one writer of a cluster, for example Source("edge-1", "functions/backup"),
// Source("edge-1", "node") or Source("edge-1", "users/alice").
func Source(cluster, writer string) string { return "/clusters/" + cluster + "/" + writer }

// Writer says who writes as source, in the catalogue's terms: a function's name ("backup"), "user", or what follows
// the cluster ("node", "source", "runtime"). It is "" when source is not made by [Source].
func Writer(source string) string {
	path, ok := strings.CutPrefix(source, "/clusters/")
	parts := strings.Split(path, "/")
	switch {
	case !ok || parts[0] == "":
		return ""
	case len(parts) == 3 && parts[1] == "functions":
		return parts[2]
	case len(parts) == 3 && parts[1] == "users" && parts[2] != "":
		return "user"
	case len(parts) == 2:
		return parts[1]
	}
	return ""
}

// New builds an event without cause: a request or the node's report about itself. The caller chooses the id, which
// makes a repeated submission recognisable. data is the type's payload; New panics when it does not encode: that is a
// defect. Whether it satisfies the schema is for [Validate] to say.
func New(t Type, id, cluster, writer, upgrade string, data any) event.Event {
	e := event.New()
	e.SetType(string(t))
	e.SetID(id)
	e.SetSource(Source(cluster, writer))
	e.SetSubject(upgrade)
	e.SetDataSchema(SchemaURI(t))
	e.SetExtension(ExtPartitionKey, cluster)
	e.SetExtension(ExtCorrelation, upgrade)
	if err := e.SetData(event.ApplicationJSON, data); err != nil {
		panic(fmt.Sprintf("payload of %s does not encode: %v", t, err))
	}
	return e
}

// Caused builds the event that writer states because of cause. Its id is a function of cause, writer, type and
// ordinal n, so that a handler that runs twice states the same event twice and the history keeps one.
func Caused(cause event.Event, writer string, t Type, n int, data any) event.Event {
	e := New(t, DerivedID(cause.ID(), writer, t, n), Cluster(cause), writer, cause.Subject(), data)
	e.SetExtension(ExtCausation, cause.ID())
	if trace := ext(cause, ExtTraceParent); trace != "" {
		e.SetExtension(ExtTraceParent, trace)
	}
	return e
}

// DerivedID is the id of the n-th event of type t that writer states because of the event with id cause: 26 hex
// digits of a SHA-256.
func DerivedID(cause, writer string, t Type, n int) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d", cause, writer, t, n))
	return hex.EncodeToString(h[:13])
}

// TypeOf is the event's type.
func TypeOf(e event.Event) Type { return Type(e.Type()) }

// Cluster is the cluster that the event belongs to.
func Cluster(e event.Event) string { return ext(e, ExtPartitionKey) }

// Causation is the id of the event that caused e, or "".
func Causation(e event.Event) string { return ext(e, ExtCausation) }

// Sequence is the event's ordinal in its history, counting from 1, or 0 before it was appended.
func Sequence(e event.Event) uint64 {
	n, err := strconv.ParseUint(ext(e, ExtSequence), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Recorded is when the event was appended, or the zero time.
func Recorded(e event.Event) time.Time {
	t, err := time.Parse(time.RFC3339Nano, ext(e, ExtRecorded))
	if err != nil {
		return time.Time{}
	}
	return t
}

// ext is an extension attribute as text, "" when it is absent.
func ext(e event.Event, name string) string {
	var v any
	if c, ok := e.Context.(*event.EventContextV1); ok {
		v = c.Extensions[name] // Event.Extensions copies the map, and this runs several times an event
	} else {
		v = e.Extensions()[name]
	}
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return fmt.Sprint(v)
}

// Decode reads the payload of an event as T, its type's payload. Unknown and repeated fields are an error; an event
// that [Validate] passed has none.
func Decode[T any](e event.Event) (T, error) {
	var v T
	if err := decodeStrict(e.Data(), &v); err != nil {
		return v, fmt.Errorf("cannot decode %s %s: %w", TypeOf(e).Short(), e.ID(), err)
	}
	return v, nil
}
