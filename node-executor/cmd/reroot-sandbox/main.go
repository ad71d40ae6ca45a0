// Command reroot-sandbox runs a node's machine: firmware, boot loader and initramfs of a real ostree sysroot, in namespaces
// instead of hardware. See package sandbox for what of it is real.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
)

const usage = `usage:
  reroot-sandbox run --config FILE            run a machine until it powers off; SIGTERM cuts its power
  reroot-sandbox exec --socket FILE PROG ...  run a program inside the node; its standard input is passed on with -i
  reroot-sandbox state --socket FILE          print what the machine is doing, as JSON
  reroot-sandbox power-cut --socket FILE      end the running boot as a loss of power does
`

// maxStdin bounds what exec passes on; the control socket carries no more.
const maxStdin = 8 << 20

func main() {
	if len(os.Args) == 2 && os.Args[1] == sandbox.InitramfsCommand {
		fmt.Fprintln(os.Stderr, "initramfs:", sandbox.Initramfs())
		os.Exit(1)
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code, err := command(ctx, os.Args[1], os.Args[2:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reroot-sandbox:", err)
	}
	os.Exit(code)
}

// command runs a command of the program and returns the exit code: 1 with an error, 2 with an error of usage.
func command(ctx context.Context, name string, args []string) (int, error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	config := flags.String("config", "", "machine's configuration `file`")
	socket := flags.String("socket", "", "machine's control socket")
	passStdin := flags.Bool("i", false, "pass standard input on")
	if err := flags.Parse(args); err != nil {
		return 2, nil
	}
	var err error
	switch name {
	case "run":
		err = run(ctx, *config)
	case "exec":
		return execute(ctx, *socket, flags.Args(), *passStdin)
	case "state":
		var status sandbox.Status
		if status, err = sandbox.State(ctx, *socket); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(status)
		}
	case "power-cut":
		err = sandbox.PowerCut(ctx, *socket)
	default:
		flags.Usage()
		return 2, fmt.Errorf("unknown command %q", name)
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// run runs the machine in nobody's working directory and environment.
func run(ctx context.Context, name string) error {
	config, err := sandbox.ReadConfig(name)
	if err != nil {
		return err
	}
	os.Clearenv()
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("cannot leave working directory: %w", err)
	}
	return sandbox.Run(ctx, config, sandbox.BLS{}, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
}

func execute(ctx context.Context, socket string, argv []string, passStdin bool) (int, error) {
	if len(argv) == 0 {
		return 2, errors.New("no program to execute")
	}
	var input []byte
	if passStdin {
		var err error
		if input, err = io.ReadAll(io.LimitReader(os.Stdin, maxStdin+1)); err != nil {
			return 1, fmt.Errorf("cannot read standard input: %w", err)
		}
		if len(input) > maxStdin {
			return 1, fmt.Errorf("cannot pass on standard input: more than %d bytes", maxStdin)
		}
	}
	stdout, stderr, code, err := sandbox.Exec(ctx, socket, argv, input)
	if err != nil {
		return 1, err
	}
	_, outErr := os.Stdout.Write(stdout)
	_, errErr := os.Stderr.Write(stderr)
	return code, errors.Join(outErr, errErr)
}
