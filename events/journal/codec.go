package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/nats-io/nats.go"
)

// Header names of the CloudEvents NATS protocol binding, version 1.0.3.
const (
	headerPrefix      = "ce-"
	headerContentType = "Content-Type"
	structuredMode    = "application/cloudevents"
)

// Encode gives header and body of the event in binary mode of the CloudEvents NATS protocol binding: one "ce-" header
// per attribute, values percent-encoded, the payload as it is.
func Encode(e event.Event) (nats.Header, []byte, error) {
	h := make(nats.Header, 16)
	put := func(name, value string) {
		if value != "" {
			h[headerPrefix+name] = []string{escape(value)}
		}
	}
	put("specversion", e.SpecVersion())
	put("type", e.Type())
	put("source", e.Source())
	put("id", e.ID())
	put("subject", e.Subject())
	put("dataschema", e.DataSchema())
	put("datacontenttype", e.DataContentType())
	if !e.Time().IsZero() {
		put("time", types.FormatTime(e.Time()))
	}
	for name, v := range e.Extensions() {
		s, err := types.Format(v)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot encode attribute %s of event %s: %w", name, e.ID(), err)
		}
		put(name, s)
	}
	return h, e.Data(), nil
}

// Decode reads a message in binary or structured mode; the Content-Type header tells which it is. Header names match
// whatever their case. It does not validate the event, see [events.Validate].
func Decode(h nats.Header, body []byte) (event.Event, error) {
	attrs := make(map[string]string, len(h))
	for name, values := range h {
		if len(values) == 0 {
			continue
		}
		switch lower := strings.ToLower(name); {
		case lower == "content-type" && hasPrefixFold(values[0], structuredMode):
			return decodeStructured(body)
		case strings.HasPrefix(lower, headerPrefix):
			v, err := unescape(values[0])
			if err != nil {
				return event.Event{}, fmt.Errorf("cannot decode header %s: %w", name, err)
			}
			attrs[lower[len(headerPrefix):]] = v
		}
	}
	return decodeBinary(attrs, body)
}

func decodeStructured(body []byte) (event.Event, error) {
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return event.Event{}, fmt.Errorf("cannot decode structured event: %w", err)
	}
	return e, nil
}

func decodeBinary(attrs map[string]string, body []byte) (event.Event, error) {
	version := attrs["specversion"]
	if version != event.CloudEventsVersionV1 {
		return event.Event{}, fmt.Errorf("not a CloudEvent of version 1.0: specversion is %q", version)
	}
	e := event.New(version)
	for name, v := range attrs {
		switch name {
		case "specversion":
		case "type":
			e.SetType(v)
		case "source":
			e.SetSource(v)
		case "id":
			e.SetID(v)
		case "subject":
			e.SetSubject(v)
		case "dataschema":
			e.SetDataSchema(v)
		case "datacontenttype":
			e.SetDataContentType(v)
		case "time":
			t, err := time.Parse(time.RFC3339Nano, v)
			if err != nil {
				return event.Event{}, fmt.Errorf("cannot decode attribute time: %w", err)
			}
			e.SetTime(t)
		default:
			e.SetExtension(name, v)
		}
	}
	if invalid := e.FieldErrors; len(invalid) > 0 {
		return event.Event{}, errors.Join(fieldErrors(invalid)...)
	}
	if len(body) > 0 {
		e.DataEncoded = body
		e.DataBase64 = !strings.Contains(e.DataContentType(), "json") && !utf8.Valid(body)
	}
	return e, nil
}

func fieldErrors(m map[string]error) []error {
	var errs []error
	for name, err := range m {
		errs = append(errs, fmt.Errorf("cannot decode attribute %s: %w", name, err))
	}
	return errs
}

// plain says that a character stands for itself: printable ASCII but space, double quote and percent.
func plain(c byte) bool { return c > 0x20 && c < 0x7f && c != '"' && c != '%' }

func escape(s string) string {
	const hex = "0123456789ABCDEF"
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// unescape undoes a quoted string (written by senders of older versions of the binding), then one round of percent
// encoding. Bytes that are not UTF-8 are refused, as the binding demands.
func unescape(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b = append(b, s[i])
				continue
			}
			if i+2 >= len(s) {
				return "", fmt.Errorf("%q ends within a percent encoding", s)
			}
			c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", fmt.Errorf("%q is not a percent encoding", s[i:i+3])
			}
			b, i = append(b, byte(c)), i+2
		}
		s = string(b)
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%q is not UTF-8", s)
	}
	return s, nil
}

func unquote(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
