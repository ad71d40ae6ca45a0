package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
)

// Process is what a command line knows of the process that it runs in.
type Process struct {
	Args     []string // Args[0] is the name that it was called by
	In       io.Reader
	Asks     bool // In is a terminal: a person can answer
	Out, Err io.Writer
	Env      func(name string) string
	Now      func() time.Time
	// Connect gives the event store; nil connects to the one that --server names.
	Connect func(ctx context.Context) (journal.Store, error)
}

// OfProcess is the running process.
func OfProcess() Process {
	return Process{Args: os.Args, In: os.Stdin, Asks: isatty.IsTerminal(os.Stdin.Fd()), Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Now: time.Now}
}

// app is one run of the command line.
type app struct {
	Process
	host                                string // "kubectl" or "oc" when this is a plug-in of theirs
	server, creds, cluster, user, color string
	store                               journal.Store
	disconnect                          func()
	patience                            time.Duration // for what should be answered at once
	began                               bool          // a command's own code runs: the command line was valid
}

// Run runs the command line and returns what the process exits with. When ctx ends it gives up at once, without any
// effect on upgrades.
func Run(ctx context.Context, p Process) int {
	a := &app{Process: p}
	defer a.close()
	cmd, err := a.root().ExecuteContextC(ctx)
	switch {
	case err == nil:
		return int(Done)
	case ctx.Err() != nil:
		fmt.Fprintln(a.Err, "interrupted: this changes nothing, an upgrade that runs goes on")
		return int(Interrupted)
	case !a.began:
		err = wrong("read the command line", strings.TrimPrefix(cmd.CommandPath(), a.host+" ")+" --help", "%v", err)
	}
	f := failureOf(err)
	f.Do = a.spelt(f.Do)
	f.print(a.Err)
	return int(f.Code)
}

// root is the whole tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "reroot",
		Short: "upgrade single-node OKD clusters by image, and see what happens and what happened",
		Long: `Reroot upgrades single-node OKD clusters by replacing the whole root file system with that of a seed image.

Every command talks to the event store of Reroot. Requests become events; the history of
events is the only truth, and what is shown is read from it.`,
		Example: `  reroot get
  reroot timeline
  reroot explain exit-code`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetArgs(a.Args[1:])
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	a.globals(root)
	root.AddCommand(
		a.startCommand(), a.stageCommand(), a.getCommand(), a.eventsCommand(), a.timelineCommand(), a.replayCommand(),
		a.waitCommand(), a.deadCommand(), a.exportCommand(), a.explainCommand(), a.versionCommand(), a.completionCommand(),
	)
	root.SetHelpCommand(&cobra.Command{Hidden: true}) // --help is the one way
	if host, plugin := strings.CutSuffix(filepath.Base(a.Args[0]), "-reroot"); plugin {
		a.host = host
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: host + " reroot"}
		a.respell(root)
	}
	return root
}

// respell lets the examples of a command, and of those below it, call it as it was called.
func (a *app) respell(c *cobra.Command) {
	c.Example = a.spelt(c.Example)
	for _, below := range c.Commands() {
		a.respell(below)
	}
}

// spelt is a text in which commands are called as this one was: reroot, or kubectl reroot.
func (a *app) spelt(text string) string {
	if a.host == "" {
		return text
	}
	return strings.ReplaceAll(text, "reroot ", a.host+" reroot ")
}

// globals are the flags that every command has. Each text can be set by an environment variable, too.
func (a *app) globals(root *cobra.Command) {
	flags := root.PersistentFlags()
	text := func(into *string, name, fallback, usage string) {
		env := "REROOT_" + strings.ToUpper(name)
		if v := a.Env(env); v != "" {
			fallback = v
		}
		flags.StringVar(into, name, fallback, usage+" ($"+env+")")
	}
	text(&a.server, "server", "nats://127.0.0.1:4222", "URL of the event store")
	text(&a.creds, "creds", "", "file with NATS credentials")
	text(&a.cluster, "cluster", "", "name of the cluster; default: the only one that has a history")
	text(&a.user, "user", a.Env("USER"), "who asks, as the history shall say")
	text(&a.color, "color", "auto", "auto, always or never; auto heeds $NO_COLOR")
	flags.DurationVar(&a.patience, "request-timeout", 30*time.Second, "how long to wait for the event store, and for the answer to a request")
	a.complete(root, "cluster", func(ctx context.Context) ([]string, error) { return a.clusters(ctx) })
	a.complete(root, "color", constant("auto", "always", "never"))
}

// run wraps a command's own code.
func (a *app) run(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.began = true
		if a.color != "auto" && a.color != "always" && a.color != "never" {
			return wrong("choose a colour mode", "name one of auto, always, never", "--color is %q", a.color)
		}
		return f(cmd.Context(), args)
	}
}

// screen is how a timeline is drawn on w.
func (a *app) screen(w io.Writer) timeline.Screen {
	s := timeline.ScreenOf(w)
	switch {
	case a.color == "always":
		s.Color = true
	case a.color == "never" || a.Env("NO_COLOR") != "":
		s.Color = false
	}
	return s
}
