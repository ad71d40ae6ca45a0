package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/configfile"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
)

// Exit codes, as the README lists them for all programs.
const (
	codeFailed      = 1
	codeUsage       = 2
	codeRefused     = 6
	codeInterrupted = 130
)

// failure is an error that a person can do something about: three lines.
type failure struct {
	cannot, because, do string
	code                int
	err                 error
}

func (f *failure) Error() string { return "cannot " + f.cannot + ": " + f.because }
func (f *failure) Unwrap() error { return f.err }

// report prints an error and returns the exit code for it.
func report(ctx context.Context, stderr io.Writer, err error) int {
	if f := (*failure)(nil); errors.As(err, &f) {
		fmt.Fprintf(stderr, "error: cannot %s\nbecause: %s\ndo: %s\n", f.cannot, printable(f.because), f.do)
		return f.code
	}
	fmt.Fprintln(stderr, "reroot-node:", err)
	usage := (*usageError)(nil)
	switch {
	case errors.As(err, &usage):
		return codeUsage
	case ctx.Err() != nil:
		return codeInterrupted
	}
	return codeFailed
}

// wrongFile is the failure of a configuration that cannot be used.
func wrongFile(err error) error {
	f := &failure{cannot: "use the configuration", because: err.Error(), do: "mend that and run the command again; nothing was changed", code: codeUsage, err: err}
	if refused := (*configfile.RefusedError)(nil); errors.As(err, &refused) {
		f.cannot, f.because, f.do = "take option "+refused.Option, refused.Because, refused.Do
	}
	return f
}

// regeneration is the failure of a regeneration, or of what only reads for one.
func regeneration(err error, reads bool) error {
	f := &failure{cannot: "regenerate the cluster's cryptography", because: err.Error(), code: codeFailed, err: err}
	refused := (*crypto.RefusedError)(nil)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &refused):
		f.code, f.do = codeRefused, "see all of it with --dry-run, and mend the configuration; nothing was changed"
	case errors.Is(err, etcd.ErrVersion):
		f.do = "name under etcd.programs an etcd of the minor version that wrote the data directory; nothing was changed"
	case reads:
		f.cannot, f.do = "read the cluster's cryptography", "mend that and run the command again; nothing was changed"
	default:
		f.do = "mend that and run the command again with the same journal: it finishes what was begun"
	}
	return f
}
