package sandbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
)

// TestReboot takes a machine through an upgrade's boots: into the new root, through losses of power and of the
// supervisor, and back.
func TestReboot(t *testing.T) {
	l := newLab(t)
	l.build()
	l.start()
	ids := map[string]bool{}
	boot := func(number int, stateroot string) {
		t.Helper()
		status := l.ready(number)
		if got := l.booted(); got != stateroot {
			t.Errorf("boot %d: want %s booted, got %s", number, stateroot, got)
		}
		if got := l.node("cat", "/proc/sys/kernel/random/boot_id"); got != status.BootID || ids[got] {
			t.Errorf("boot %d: want new boot id %s, got %s", number, status.BootID, got)
		}
		ids[status.BootID] = true
	}
	reboot := func() {
		t.Helper()
		l.node("ostree", "admin", "set-default", "1")
		l.node("systemctl", "reboot")
	}

	boot(1, "old")
	first := l.node("cat", "/proc/sys/kernel/random/boot_id")
	t.Logf("resident memory: %.0f MiB", l.rss())
	l.node("touch", "/etc/of-old", "/var/of-old")
	l.testDevices()
	l.testRestart()
	l.testCommands()
	reboot()
	boot(2, "new")
	if cmdline := l.node("cat", "/proc/cmdline"); !strings.Contains(cmdline, "ibu=4.17.0") {
		t.Errorf("want the new entry's kernel arguments, got %s", cmdline)
	}
	if got := l.node("ls", "/etc", "/var"); strings.Contains(got, "of-old") {
		t.Errorf("the new root has the old one's files: %s", got)
	}

	if out, err := exec.CommandContext(t.Context(), l.program, "power-cut", "--socket="+l.config.Socket).CombinedOutput(); err != nil {
		t.Fatalf("power cut: %v: %s", err, out)
	}
	boot(3, "new")

	l.killSupervisor()
	l.start()
	boot(4, "new")

	reboot()
	boot(5, "old")
	l.node("ls", "/etc/of-old", "/var/of-old")
	if journal := l.node("journalctl", "--list-boots"); !strings.Contains(journal, strings.ReplaceAll(first, "-", "")) {
		t.Errorf("want boot %s in the journal, got:\n%s", first, journal)
	}

	l.node("systemctl", "poweroff")
	<-l.ended.Done()
	if code := l.process.ProcessState.ExitCode(); code != 0 {
		t.Errorf("power off: want exit code 0, got %d", code)
	}
	if found := append(l.leftovers(), l.cgroups()...); len(found) > 0 {
		t.Errorf("still there after power off: %v", found)
	}
	l.testRecord("old", "new", "new", "new", "old")
}

// testDevices looks at what is provided to the node, and at what must be kept from it.
func (l *lab) testDevices() {
	l.t.Helper()
	for _, name := range []string{"/var/lib/containers/mark", "/usr/libexec/lab/mark"} {
		if got := l.node("cat", name); got != "device" {
			l.t.Errorf("%s: got %q", name, got)
		}
	}
	l.node("touch", "/var/lib/containers/written")
	for _, name := range []string{"/usr/libexec/lab/new", "/usr/new", "/sysroot/new", "/proc/sys/kernel/panic", "/sys/kernel/new"} {
		_, _, code, err := sandbox.Exec(l.t.Context(), l.config.Socket, []string{"tee", name}, []byte("1"))
		if err != nil || code == 0 {
			l.t.Errorf("writing %s: want failure, got code %d, %v", name, code, err)
		}
	}
	if got := l.node("hostname"); got != l.config.Hostname {
		l.t.Errorf("want host name %s, got %s", l.config.Hostname, got)
	}
	if got := l.node("systemctl", "is-system-running"); got != "running" {
		l.t.Errorf("want a running system, got %s", got)
	}
}

// testRestart kills a service's process, which systemd must bring back.
func (l *lab) testRestart() {
	l.t.Helper()
	l.node("systemd-run", "--wait", "--quiet", "true")
	l.node("systemctl", "start", "lab-test.service")
	mainPID := func() string { return l.node("systemctl", "show", "--property=MainPID", "--value", "lab-test.service") }
	first := mainPID()
	l.node("kill", "-KILL", first)
	l.eventually("restart of a killed service", func() bool {
		pid := mainPID()
		return pid != first && pid != "0"
	})
}

// testCommands uses the program as somebody at a shell does.
func (l *lab) testCommands() {
	l.t.Helper()
	socket := "--socket=" + l.config.Socket
	for _, test := range []struct {
		args   []string
		stdin  string
		stdout string
		code   int
	}{
		{[]string{"exec", socket, "sh", "-c", "echo out; exit 3"}, "", "out\n", 3},
		{[]string{"exec", "-i", socket, "cat"}, "in", "in", 0},
		{[]string{"exec", socket, "nonexistent"}, "", "", 1},
		{[]string{"state", "--socket=/nonexistent"}, "", "", 1},
		{[]string{"run", "--config=/nonexistent"}, "", "", 1},
		{[]string{"exec", socket}, "", "", 2},
		{[]string{"reset", socket}, "", "", 2},
		{nil, "", "", 2},
	} {
		cmd := exec.CommandContext(l.t.Context(), l.program, test.args...)
		cmd.Stdin = strings.NewReader(test.stdin)
		out, err := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != test.code || string(out) != test.stdout {
			l.t.Errorf("%v: want code %d and %q, got code %d and %q, %v", test.args, test.code, test.stdout, code, out, err)
		}
	}
	out, err := exec.CommandContext(l.t.Context(), l.program, "state", socket).Output()
	var status sandbox.Status
	if err := errors.Join(err, json.Unmarshal(out, &status)); err != nil || status.Number != 1 || !status.Ready {
		l.t.Errorf("state: got %s, %v", out, err)
	}
}

// killSupervisor kills the supervisor, and waits for the node to go with it.
func (l *lab) killSupervisor() {
	l.t.Helper()
	if err := l.process.Process.Kill(); err != nil {
		l.t.Fatal(err)
	}
	<-l.ended.Done()
	l.ended = context.Background()
	l.eventually("end of the node after its supervisor", func() bool { return len(l.leftovers()) == 0 })
}

// testRecord compares the record of boots with the stateroots that must have run.
func (l *lab) testRecord(stateroots ...string) {
	l.t.Helper()
	data, err := os.ReadFile(filepath.Join(l.config.State, "boots.ndjson"))
	if err != nil {
		l.t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(data)) {
		var boot sandbox.Boot
		if err := json.Unmarshal([]byte(line), &boot); err != nil {
			l.t.Fatal(err)
		}
		if boot.Number != len(got)+1 {
			l.t.Errorf("want boot %d, got %+v", len(got)+1, boot)
		}
		got = append(got, strings.Split(boot.Deployment, "/")[2])
	}
	if !slices.Equal(got, stateroots) {
		l.t.Errorf("want boots of %v on record, got %v", stateroots, got)
	}
}
