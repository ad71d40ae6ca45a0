package configfile

import "fmt"

// RefusedError says that an option asks for what this engine does not do, and what to do about it.
type RefusedError struct {
	Option  string
	Because string
	Do      string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("cannot take option %s: %s", e.Option, e.Because)
}
