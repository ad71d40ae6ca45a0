package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/configfile"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Exit codes, as the README lists them for all programs.
const (
	codeFailed      = 1
	codeUsage       = 2
	codeRefused     = 6
	codeInterrupted = 130
)

// failure is an error that a person can do something about: what, why, everything that is wrong where it is many things, and
// what to do.
type failure struct {
	cannot, because, do string
	list                []string
	code                int
	err                 error
}

func (f *failure) Error() string { return "cannot " + f.cannot + ": " + f.because }
func (f *failure) Unwrap() error { return f.err }

// report prints an error and returns the exit code for it.
func report(ctx context.Context, stderr io.Writer, err error) int {
	if f := (*failure)(nil); errors.As(err, &f) {
		fmt.Fprintf(stderr, "error: cannot %s\nbecause: %s\n", f.cannot, printable(f.because))
		for _, line := range f.list {
			fmt.Fprintf(stderr, "  %s\n", printable(line))
		}
		fmt.Fprintf(stderr, "do: %s\n", f.do)
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

const (
	// untouched is true of the cluster's material. An etcd that is started on its data directory writes to its log even so.
	untouched = "no key, certificate, token or name was changed"
	again     = "run the command again with the same journal: it finishes what was begun"
)

// regeneration is the failure of a regeneration, or of what only reads for one.
func regeneration(err error, reads bool) error {
	f := &failure{cannot: "regenerate the cluster's cryptography", because: err.Error(), code: codeFailed, err: err}
	if reads {
		f.cannot = "read the cluster's cryptography"
	}
	var (
		refused     *crypto.RefusedError
		interrupted *configfile.InterruptedError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &refused):
		return refusal(refused, false)
	case errors.As(err, &interrupted):
		f.code = codeRefused
		f.do = "finish that one first: run the command with --journal " + interrupted.Journal + ", which needs its file for roots and etcd only"
	case errors.Is(err, etcd.ErrVersion):
		f.do = "name under etcd.programs an etcd of the minor version that wrote the data directory; " + untouched
	case errors.Is(err, commit.ErrLocked):
		f.do = "wait until it has ended; if it is for another node, give each a journal of its own"
	case errors.Is(err, etcd.ErrInUse):
		f.do = "stop the etcd that has it open (the kubelet runs it as a static pod) and " + again
	case errors.Is(err, site.ErrForeignWrite):
		f.do = "stop whatever else writes there (kubelet, pods, clients of etcd), put back what stood there before, and " + again
	case reads:
		f.do = "mend that and run the command again; " + untouched
	default:
		f.do = "mend that and " + again
	}
	return f
}

// refusal is the failure of a regeneration that was refused before anything was changed. Listed says that the problems have been
// printed.
func refusal(refused *crypto.RefusedError, listed bool) error {
	f := &failure{
		cannot: "regenerate the cluster's cryptography", because: refused.Count() + " found in the plan", code: codeRefused, err: refused,
		do: "mend what is listed, or allow it in our own kind of configuration (unknown, orphans, unread, foreignTokens); " + untouched,
	}
	if refused.Stage == "verify" {
		f.because = refused.Count() + " found in the new material before it was put in place"
		f.do = "report this with the list: it is a fault of reroot-node; " + untouched
	}
	if !listed {
		for _, p := range refused.Problems {
			f.list = append(f.list, p.String())
		}
	}
	return f
}

// inconsistent is the failure of a check. Listed says that the faults have been printed.
func inconsistent(faults []graph.Fault, listed bool) error {
	f := &failure{
		cannot: "confirm that the cluster's cryptography is consistent", because: fmt.Sprintf("%d things do not fit together", len(faults)), code: codeFailed,
		do: "finish a regeneration that was interrupted, with its journal; otherwise restore what is listed from where it came from",
	}
	if len(faults) == 1 {
		f.because = "1 thing does not fit"
	}
	if !listed {
		for _, fault := range faults {
			f.list = append(f.list, fault.String())
		}
	}
	return f
}
