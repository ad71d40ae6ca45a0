package host_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/host"
)

func TestRun(t *testing.T) {
	h := host.New(host.Options{})
	for name, tc := range map[string]struct {
		cmd  host.Cmd
		want string
		err  string
	}{
		"prints":             {cmd: host.Cmd{Name: "echo", Args: []string{"a b", "$HOME"}}, want: "a b $HOME\n"},
		"reads":              {cmd: host.Cmd{Name: "cat", Stdin: strings.NewReader("in")}, want: "in"},
		"environment":        {cmd: host.Cmd{Name: "sh", Args: []string{"-c", "echo $A $LEAK"}, Env: []string{"A=b"}}, want: "b\n"},
		"directory":          {cmd: host.Cmd{Name: "pwd", Dir: "/usr"}, want: "/usr\n"},
		"exit code":          {cmd: host.Cmd{Name: "sh", Args: []string{"-c", "echo one >&2; echo two >&2; exit 7"}}, err: "exit code 7: one; two"},
		"signal":             {cmd: host.Cmd{Name: "sh", Args: []string{"-c", "kill -9 $$"}}, err: "ended by signal killed"},
		"no such program":    {cmd: host.Cmd{Name: "reroot-no-such-program"}, err: `cannot run "reroot-no-such-program"`},
		"too much on stdout": {cmd: host.Cmd{Name: "head", Args: []string{"-c", "20000000", "/dev/zero"}}, err: "it printed more than"},
		"keeps the end of stderr": {cmd: host.Cmd{Name: "sh", Args: []string{"-c", "seq 100000 >&2; exit 1"}},
			err: "exit code 1: 99998; 99999; 100000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LEAK", "of the executor's environment")
			out, err := h.Run(t.Context(), tc.cmd)
			if tc.err == "" && (err != nil || string(out) != tc.want) {
				t.Errorf("got %q, error %v; want %q", out, err, tc.want)
			}
			if errors.Is(err, host.ErrNoProgram) != (name == "no such program") {
				t.Errorf("error %v is %v", err, host.ErrNoProgram)
			}
			if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

func TestRunEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := host.New(host.Options{}).Run(ctx, host.Cmd{Name: "sleep", Args: []string{"60"}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
}

func TestWriteFileAtomic(t *testing.T) {
	h, dir := host.New(host.Options{}), t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"first", "second, longer", ""} {
		if err := h.WriteFileAtomic(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, []byte(text)) {
			t.Errorf("read %q, %v; want %q", got, err, text)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", st.Mode(), err)
	}
	if err := h.WriteFileAtomic(filepath.Join(dir, "absent", "f"), nil, 0o600); err == nil {
		t.Error("wrote below a directory that is not there")
	}
	// A directory cannot be replaced by a file: the temporary one must not stay.
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFileAtomic(filepath.Join(dir, "d"), nil, 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("directory holds %v, %v; want f and d", left, err)
	}
}

func TestClocksAndSpace(t *testing.T) {
	h := host.New(host.Options{})
	first, err := h.BootTime()
	if err != nil {
		t.Fatal(err)
	}
	second, err := h.BootTime()
	if err != nil || second < first || first <= 0 {
		t.Errorf("boot clock went from %v to %v, %v", first, second, err)
	}
	id, err := h.BootID()
	if err != nil || len(id) != 36 {
		t.Errorf("boot id %q, %v", id, err)
	}
	if free, err := h.FreeSpace(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("free space %d, %v", free, err)
	}
	if err := h.SyncFS(t.TempDir()); err != nil {
		t.Error(err)
	}
}
