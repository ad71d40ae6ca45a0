package events

import (
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"knative.dev/pkg/apis"

	"github.com/reroot-dev/reroot/schemas"
)

// MaxData bounds the payload of one event, in bytes.
const MaxData = 256 << 10

// Problem is why an event is invalid: a reason and every field that is wrong, not just the first.
type Problem struct {
	Reason Reason
	Fields *apis.FieldError
}

func (p *Problem) Error() string { return string(p.Reason) + ": " + p.Fields.Error() }

// Validate checks envelope and payload against the type's definition and schema, and reports all problems at once. It
// does not look at the attributes that appending sets.
func Validate(e event.Event) *Problem {
	d, ok := Lookup(TypeOf(e))
	if !ok {
		return &Problem{ReasonUnknownType, apis.ErrInvalidValue(e.Type(), "type", "not in the catalogue; see schemas/")}
	}
	errs := validateEnvelope(e)
	if len(e.Data()) > MaxData {
		errs = errs.Also(apis.ErrOutOfBoundsValue(len(e.Data()), 0, MaxData, "data"))
	} else {
		for _, p := range schemas.Validate(schemas.Name(string(d.Type), Prefix), e.Data()) {
			errs = errs.Also((&apis.FieldError{Message: p.Message, Paths: []string{apis.CurrentField}}).ViaField(p.Path).ViaField("data"))
		}
	}
	if errs == nil {
		return nil
	}
	return &Problem{ReasonInvalidEvent, errs}
}

func validateEnvelope(e event.Event) (errs *apis.FieldError) {
	if err := e.Validate(); err != nil {
		errs = errs.Also(apis.ErrGeneric(err.Error(), "envelope"))
	}
	if !ValidCluster(Cluster(e)) {
		errs = errs.Also(apis.ErrInvalidValue(Cluster(e), ExtPartitionKey, "must be the cluster's name, a DNS label"))
	}
	if !ValidUpgrade(e.Subject()) {
		errs = errs.Also(apis.ErrInvalidValue(e.Subject(), "subject", "must be the upgrade's id, a DNS label"))
	}
	if want, got := SchemaURI(TypeOf(e)), e.DataSchema(); got != "" && got != want {
		errs = errs.Also(apis.ErrInvalidValue(got, "dataschema", fmt.Sprintf("must be %s", want)))
	}
	if ct := e.DataContentType(); ct != event.ApplicationJSON {
		errs = errs.Also(apis.ErrInvalidValue(ct, "datacontenttype", "must be application/json"))
	}
	for _, name := range []string{ExtExpiry, ExtRecorded} {
		if v := ext(e, name); v != "" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
				errs = errs.Also(apis.ErrInvalidValue(v, name, "must be an RFC 3339 time"))
			}
		}
	}
	return errs
}

// SchemaURI is the dataschema of a type.
func SchemaURI(t Type) string { return SchemaBase + schemas.Name(string(t), Prefix) + ".json" }
