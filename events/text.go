package events

import "strings"

// MaxText bounds message and next of a [Failure], and detail of a [StepProgressed], in bytes; the schemas say the same.
const MaxText = 4096

// Line makes any text one that an event can carry: one line, valid UTF-8, of at most limit bytes.
func Line(text string, limit int) string {
	text = strings.ToValidUTF8(strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; "), "?")
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit-len("…")], "") + "…"
	}
	return text
}

// Fail is a failure whose texts may come from anywhere: an API server, a registry, a program's output.
func Fail(reason Reason, message, next string) Failure {
	return Failure{Reason: reason, Message: Line(message, MaxText), Next: Line(next, MaxText)}
}
