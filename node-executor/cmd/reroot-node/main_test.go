package main_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandLine builds the program and uses it wrongly, and as the units do.
func TestCommandLine(t *testing.T) {
	program := filepath.Join(t.TempDir(), "reroot-node")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		text string
	}{
		"help":                     {[]string{"--help"}, 0, "await-identity"},
		"unknown flag":             {[]string{"run", "--fast"}, 2, "unknown flag: --fast"},
		"argument":                 {[]string{"watchdog", "now"}, 2, "unknown command"},
		"no state directory":       {[]string{"run"}, 1, "cannot use the state directory"},
		"install without its file": {[]string{"install", "--etc", t.TempDir(), "--state", t.TempDir(), "--config", "/none"}, 1, "cannot read configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), program, tc.args...).CombinedOutput()
			code := 0
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != tc.code || !strings.Contains(string(out), tc.text) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tc.code, tc.text, out)
			}
		})
	}
}
