package sandbox

import (
	"fmt"
	"strings"
)

// SplitCommandLine splits a kernel command line at spaces outside double quotes and takes the quotes away, as the
// kernel does before it hands arguments to init.
func SplitCommandLine(line string) []string {
	var args []string
	var arg strings.Builder
	quoted, inArg := false, false
	end := func() {
		if inArg {
			args = append(args, arg.String())
		}
		arg.Reset()
		inArg = false
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted, inArg = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n'):
			end()
		default:
			arg.WriteRune(r)
			inArg = true
		}
	}
	end()
	return args
}

// bootLink returns the value of the ostree= argument without its leading slash: the symbolic link below the sysroot
// that leads to the deployment, ostree/boot.<0|1>/<stateroot>/<boot checksum>/<number>.
func bootLink(options string) (link, stateroot string, err error) {
	for _, arg := range SplitCommandLine(options) {
		value, found := strings.CutPrefix(arg, "ostree=/")
		if !found {
			continue
		}
		parts := strings.Split(value, "/")
		if len(parts) != 5 || parts[0] != "ostree" || !strings.HasPrefix(parts[1], "boot.") {
			return "", "", fmt.Errorf("cannot parse kernel argument %q: not a boot link", arg)
		}
		return value, parts[2], nil
	}
	return "", "", fmt.Errorf("cannot find deployment: no ostree= in %q", options)
}
