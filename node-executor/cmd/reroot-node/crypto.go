package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/configfile"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/host"
)

// copyDir is where etcd's data directory is copied to when nothing may be written: a copy can be too large for memory, in
// which /tmp often is.
func copyDir() string { return cmp.Or(os.Getenv("TMPDIR"), "/var/tmp") }

func cryptoCommand(log *slog.Logger) *cobra.Command {
	c := leaf("crypto", "Give a stopped cluster its own cryptography, without the executor", func(context.Context, io.Writer) error {
		return &usageError{errors.New("name what to do: crypto regenerate, crypto inspect or crypto verify")}
	})
	c.AddCommand(regenerateCommand(log), inspectCommand(log), verifyCommand(log))
	return c
}

// cryptoOptions are the flags of all commands.
type cryptoOptions struct {
	config, journal, output string
	dryRun                  bool
	log                     *slog.Logger
}

func (o *cryptoOptions) command(name, short string, do func(context.Context, *configfile.Settings, io.Writer) error, outputs ...string) *cobra.Command {
	c := leaf(name, short, func(ctx context.Context, stdout io.Writer) error {
		if o.config == "" {
			return &usageError{errors.New("--config is needed")}
		}
		if !slices.Contains(outputs, o.output) {
			return &usageError{fmt.Errorf("--output %q is not one of %s", o.output, strings.Join(outputs, ", "))}
		}
		if err := harden(); err != nil {
			return err
		}
		settings, err := configfile.Load(o.config, time.Now())
		if err != nil {
			return wrongFile(err)
		}
		if settings.Threads > 0 {
			runtime.GOMAXPROCS(settings.Threads)
		}
		return do(ctx, settings, stdout)
	})
	c.Flags().StringVar(&o.config, "config", "", "what to do: our own kind of file, or recert's")
	c.Flags().StringVarP(&o.output, "output", "o", outputs[0], "what is printed: "+strings.Join(outputs, " or "))
	return c
}

func regenerateCommand(log *slog.Logger) *cobra.Command {
	o := &cryptoOptions{log: log}
	c := o.command("regenerate", "Replace every key, certificate and token; finish what was interrupted", o.regenerate, "table", "json")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "only print what would become of everything; nothing is written")
	c.Flags().StringVar(&o.journal, "journal", "", "directory for work in progress, in place of the file's (recert's have theirs below "+configfile.RecertJournals+")")
	return c
}

func inspectCommand(log *slog.Logger) *cobra.Command {
	o := &cryptoOptions{log: log}
	return o.command("inspect", "Print which key signed what, and where it all stands; nothing is written", o.inspect, "json", "dot")
}

func verifyCommand(log *slog.Logger) *cobra.Command {
	o := &cryptoOptions{log: log}
	return o.command("verify", "Tell whether keys, certificates and tokens fit together; nothing is written", o.verify, "text", "json")
}

// look reads what is there.
func (o *cryptoOptions) look(ctx context.Context, settings *configfile.Settings) (*plan.Plan, error) {
	config := settings.Bare(children{}, copyDir())
	config.Log = o.log
	p, err := crypto.Prepare(ctx, config)
	if err != nil {
		return nil, regeneration(err, true)
	}
	return p, nil
}

func (o *cryptoOptions) inspect(ctx context.Context, settings *configfile.Settings, stdout io.Writer) error {
	p, err := o.look(ctx, settings)
	if err != nil {
		return err
	}
	if o.output == "dot" {
		return p.Graph().WriteDOT(stdout)
	}
	return printJSON(stdout, crypto.NewInspection(p))
}

func (o *cryptoOptions) verify(ctx context.Context, settings *configfile.Settings, stdout io.Writer) error {
	p, err := o.look(ctx, settings)
	if err != nil {
		return err
	}
	g := p.Graph()
	faults := append([]graph.Fault{}, g.Faults()...)
	if o.output == "json" {
		if err := printJSON(stdout, map[string]any{"faults": faults}); err != nil {
			return err
		}
	}
	if len(faults) > 0 {
		return inconsistent(faults, o.output == "json")
	}
	if o.output == "text" {
		_, err = fmt.Fprintf(stdout, "consistent: %d keys, %d certificates, %d tokens; %d pieces could not be read\n",
			len(g.Keys), len(g.Certificates), len(g.Tokens), len(g.Unread)+len(p.Findings()))
	}
	return err
}

func (o *cryptoOptions) regenerate(ctx context.Context, settings *configfile.Settings, stdout io.Writer) error {
	if o.dryRun || settings.DryRun {
		return o.preview(ctx, settings, stdout)
	}
	config := settings.Config(children{}, "")
	config.Log = o.log
	if o.journal != "" {
		config.Journal = o.journal
	} else if filepath.Dir(config.Journal) == configfile.RecertJournals {
		if err := configfile.CheckJournals(config.Journal); err != nil {
			return regeneration(err, false)
		}
	}
	if !filepath.IsAbs(config.Journal) {
		return &usageError{errors.New("neither the file nor --journal names a directory for work in progress by an absolute path")}
	}
	summary, err := crypto.Regenerate(ctx, config)
	if errors.Is(err, commit.ErrLocked) {
		return regeneration(err, false) // the summary is the other one's
	}
	if err != nil {
		if failed := writeSummaries(settings.Summary, crypto.NewFailure(err)); failed != nil {
			o.log.ErrorContext(ctx, "no summary of the failure", slog.Any("error", failed))
		}
		return regeneration(err, false)
	}
	if err := writeSummaries(settings.Summary, summary); err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(stdout, summary)
	}
	return printSummary(stdout, summary)
}

func (o *cryptoOptions) preview(ctx context.Context, settings *configfile.Settings, stdout io.Writer) error {
	config := settings.Config(children{}, copyDir())
	config.Log = o.log
	p, err := crypto.Prepare(ctx, config)
	if err != nil {
		return regeneration(err, true)
	}
	preview := crypto.NewPreview(p)
	print := printPreview
	if o.output == "json" {
		print = func(w io.Writer, p *crypto.Preview) error { return printJSON(w, p) }
	}
	if err := print(stdout, preview); err != nil {
		return err
	}
	if len(preview.Problems) > 0 {
		return refusal(&crypto.RefusedError{Stage: "plan", Problems: preview.Problems}, true)
	}
	return nil
}

// harden keeps private keys out of core dumps, of this process and of those that it starts.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot forbid core dumps: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("cannot forbid core dumps: %w", err)
	}
	return nil
}

// children implements etcd.Runner: the program is a child of this process.
type children struct{}

func (children) Start(_ context.Context, program string, args []string) (etcd.Process, error) {
	return host.StartChild(host.Cmd{Name: program, Args: args})
}

func writeSummaries(paths []string, summary any) error {
	var problems []error
	for _, path := range paths {
		problems = append(problems, writeSummary(path, summary))
	}
	return errors.Join(problems...)
}

// writeSummary writes a file, complete or not at all: JSON when it is named so, otherwise YAML.
func writeSummary(path string, summary any) error {
	text, err := json.MarshalIndent(summary, "", "  ")
	if err == nil && filepath.Ext(path) != ".json" {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return fmt.Errorf("cannot encode the summary: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".reroot-summary-")
	if err != nil {
		return fmt.Errorf("cannot write the summary: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write the summary: %w", err), os.Remove(f.Name()))
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
