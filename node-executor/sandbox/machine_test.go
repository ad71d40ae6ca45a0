package sandbox_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
)

// inside returns the lab's machine, with a state of its own, for a test that runs it inside its process.
func (l *lab) inside(t *testing.T) *lab {
	inside := &lab{t: t, program: l.program, config: l.config}
	inside.config.State = t.TempDir()
	return inside
}

// run runs the machine where the race detector sees it and returns what Run has returned.
func (l *lab) run() <-chan error {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	ended, end := context.WithCancel(context.Background())
	l.ended = ended
	result := make(chan error, 1)
	go func() {
		defer end()
		result <- sandbox.Run(ctx, l.config, sandbox.BLS{}, slog.New(slog.NewTextHandler(l.t.Output(), nil)))
	}()
	l.t.Cleanup(func() {
		cancel()
		<-ended.Done()
		if found := append(l.leftovers(), l.cgroups()...); len(found) > 0 {
			l.t.Errorf("still there after the end: %v", found)
		}
	})
	return result
}

func (l *lab) cutPower() {
	l.t.Helper()
	if err := sandbox.PowerCut(l.t.Context(), l.config.Socket); err != nil {
		l.t.Fatal(err)
	}
}

// loseEntries takes the boot loader's entries away while the node runs, and reboots.
func (l *lab) loseEntries() {
	l.t.Helper()
	loader := filepath.Join(l.config.Sysroot, "boot/loader")
	if err := os.Rename(loader, loader+".away"); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := os.Rename(loader+".away", loader); err != nil {
			l.t.Error(err)
		}
	})
	l.node("systemctl", "reboot")
}

// TestRun looks at the ways in which a machine ends.
func TestRun(t *testing.T) {
	whole := newLab(t)
	for _, test := range []struct {
		name   string
		change func(*sandbox.Config)
		// act makes a machine end that has booted; nil is for one that does not boot.
		act func(*lab)
		// want is an error that Run must return, text something that its message must have.
		want error
		text string
	}{
		{
			name:   "power cut, not to boot again",
			change: func(c *sandbox.Config) { c.OnKill = sandbox.OnKillExit },
			act:    (*lab).cutPower,
		},
		{
			name:   "more boots than allowed",
			change: func(c *sandbox.Config) { c.MaxBoots = 1 },
			act:    (*lab).cutPower,
			want:   sandbox.ErrTooManyBoots,
		},
		{
			name: "power off",
			act:  func(l *lab) { l.node("systemctl", "poweroff") },
		},
		{
			name: "reboot without a boot entry",
			act:  (*lab).loseEntries,
			want: sandbox.ErrNoEntry,
		},
		{
			name:   "missing device",
			change: func(c *sandbox.Config) { c.Binds = []sandbox.Bind{{Source: "/nonexistent", Target: "/var/x"}} },
			text:   "cannot open mount of /nonexistent",
		},
		{
			name:   "mount point that cannot be made",
			change: func(c *sandbox.Config) { c.Binds = []sandbox.Bind{{Source: "/tmp", Target: "/usr/nonexistent"}} },
			text:   "read-only file system",
		},
		{
			name:   "socket that cannot be opened",
			change: func(c *sandbox.Config) { c.Socket = "/nonexistent/socket" },
			text:   "cannot open control socket",
		},
		{
			name:   "bad configuration",
			change: func(c *sandbox.Config) { c.Hostname = "" },
			text:   "cannot use configuration",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := whole.inside(t)
			if test.change != nil {
				test.change(&l.config)
			}
			result := l.run()
			if test.act != nil {
				l.ready(1)
				test.act(l)
			}
			err := <-result
			if test.want == nil && test.text == "" {
				if err != nil {
					t.Errorf("want no error, got %v", err)
				}
				return
			}
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("want %v %s, got %v", test.want, test.text, err)
			}
		})
	}
}

// TestControl asks a running machine for things, also at once.
func TestControl(t *testing.T) {
	l := newLab(t).inside(t)
	l.run()
	ready := l.ready(1)
	ctx := t.Context()

	t.Run("one supervisor at a time", func(t *testing.T) {
		err := sandbox.Run(ctx, l.config, sandbox.BLS{}, slog.New(slog.DiscardHandler))
		if !errors.Is(err, sandbox.ErrRunning) {
			t.Errorf("want %v, got %v", sandbox.ErrRunning, err)
		}
	})
	t.Run("state", func(t *testing.T) {
		if got, err := sandbox.State(ctx, l.config.Socket); err != nil || got != ready {
			t.Errorf("want %+v, got %+v, %v", ready, got, err)
		}
	})
	for _, test := range []struct {
		name           string
		argv           []string
		stdin          string
		stdout, stderr string
		code           int
	}{
		{name: "output", argv: []string{"echo", "a b"}, stdout: "a b\n"},
		{name: "input", argv: []string{"cat"}, stdin: "text", stdout: "text"},
		{name: "input that is not read", argv: []string{"true"}, stdin: strings.Repeat("x", 1<<20)},
		{name: "exit code and errors", argv: []string{"sh", "-c", "echo no >&2; exit 3"}, stderr: "no\n", code: 3},
		{name: "signal", argv: []string{"sh", "-c", "kill -TERM $$"}, code: 143},
		{name: "all namespaces", argv: []string{"sh", "-c", "test -d /proc/$$ && readlink /proc/1/exe"}, stdout: "/usr/lib/systemd/systemd\n"},
		{name: "environment", argv: []string{"env"}, stdout: "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root\nLC_ALL=C.UTF-8\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code, err := sandbox.Exec(ctx, l.config.Socket, test.argv, []byte(test.stdin))
			if err != nil || string(stdout) != test.stdout || string(stderr) != test.stderr || code != test.code {
				t.Errorf("got code %d, stdout %q, stderr %q, %v", code, stdout, stderr, err)
			}
		})
	}
	for _, test := range []struct {
		name string
		argv []string
		text string
	}{
		{"unknown program", []string{"nonexistent"}, "executable file not found"},
		{"no program", nil, "cannot parse command"},
		{"too much output", []string{"cat", "/dev/zero"}, sandbox.ErrTooMuchOutput.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, _, _, err := sandbox.Exec(ctx, l.config.Socket, test.argv, nil); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("want an error with %q, got %v", test.text, err)
			}
		})
	}
}

// TestControlEnds looks at what becomes of commands whose caller or node goes away.
func TestControlEnds(t *testing.T) {
	l := newLab(t).inside(t)
	l.run()
	l.ready(1)
	sleeping := func() bool {
		_, _, code, err := sandbox.Exec(t.Context(), l.config.Socket, []string{"pgrep", "-x", "sleep"}, nil)
		return err == nil && code == 0
	}
	// start runs a command that does not end by itself and returns, when it is running, where its code will be.
	start := func(ctx context.Context) <-chan int {
		codes := make(chan int, 1)
		go func() {
			_, _, code, err := sandbox.Exec(ctx, l.config.Socket, []string{"sleep", "infinity"}, nil)
			if err != nil {
				code = -1
			}
			codes <- code
		}()
		l.eventually("start of a command", sleeping)
		return codes
	}

	ctx, cancel := context.WithCancel(t.Context())
	codes := start(ctx)
	cancel()
	if code := <-codes; code != -1 {
		t.Errorf("caller has gone: want an error, got code %d", code)
	}
	l.eventually("end of a command whose caller has gone", func() bool { return !sleeping() })

	codes = start(t.Context())
	l.cutPower()
	if code := <-codes; code != 137 {
		t.Errorf("node has gone: want code 137, got %d", code)
	}
	l.ready(2)
}

// TestWaitReadyGivesUp waits for a machine that nobody starts.
func TestWaitReadyGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := sandbox.WaitReady(ctx, filepath.Join(t.TempDir(), "socket"), 1)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want %v, got %v", context.DeadlineExceeded, err)
	}
}

// TestEntriesThatDoNotBoot gives the machine disks whose entry leads nowhere.
func TestEntriesThatDoNotBoot(t *testing.T) {
	files := []string{"boot/k", "boot/i"}
	const deployment = "ostree/boot.0/old/abc/0"
	for name, test := range map[string]struct {
		files []string
		links map[string]string
		text  string
	}{
		"no kernel":                   {files[1:], nil, "cannot load /k"},
		"kernel outside the disk":     {files[1:], map[string]string{"boot/k": "/etc/hostname"}, "cannot load /k"},
		"no initramfs":                {files[:1], nil, "cannot load /i"},
		"initramfs is a directory":    {files[:1], map[string]string{"boot/i": "loader"}, "not a file"},
		"no deployment":               {files, nil, "cannot find deployment"},
		"deployment outside the disk": {files, map[string]string{deployment: "/"}, "is not on the disk"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			config := sandbox.Config{
				Name: "no-boot", Sysroot: writeEntries(t, map[string]string{"a.conf": entryText("1")}), State: filepath.Join(dir, "state"),
				Hostname: "h", Console: filepath.Join(dir, "console"), Socket: filepath.Join(dir, "control"), OnKill: sandbox.OnKillExit,
			}
			for _, file := range slices.Concat(test.files, []string{"ostree/boot.0/old/abc/README"}) {
				name := filepath.Join(config.Sysroot, file)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for name, target := range test.links {
				if err := os.Symlink(target, filepath.Join(config.Sysroot, name)); err != nil {
					t.Fatal(err)
				}
			}
			err := sandbox.Run(t.Context(), config, sandbox.BLS{}, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("want an error with %q, got %v", test.text, err)
			}
		})
	}
}
