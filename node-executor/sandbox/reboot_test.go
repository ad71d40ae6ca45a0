package sandbox_test

import (
	"context"
	"encoding/json"
	"os"
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
	reboot()
	boot(2, "new")
	if cmdline := l.node("cat", "/proc/cmdline"); !strings.Contains(cmdline, "ibu=4.17.0") {
		t.Errorf("want the new entry's kernel arguments, got %s", cmdline)
	}
	if got := l.node("ls", "/etc", "/var"); strings.Contains(got, "of-old") {
		t.Errorf("the new root has the old one's files: %s", got)
	}

	if err := sandbox.PowerCut(t.Context(), l.config.Socket); err != nil {
		t.Fatal(err)
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
