package staticpod_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// nodeWithTestImage is a node whose one image, test:1, is this test binary.
func nodeWithTestImage(t *testing.T) *testNode {
	t.Helper()
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return newNode(t, map[string]string{"test-1": self})
}

func TestRunsTheManifestAsItIs(t *testing.T) {
	n := nodeWithTestImage(t)
	n.put("a.yaml", manifest(t, "a", "lab.reroot.dev/test:1", []string{"name", "$(GREETING)", "two words"},
		env(behaviour, "run"), env("GREETING", "hello"), workingDir("/proc")))
	n.run()
	want := `started ["name" "$(GREETING)" "two words"] in /proc with hello` + "\n"
	eventually(t, "the pod starts", func() bool { return strings.HasSuffix(n.podLog("a"), "\n") })
	if got := n.podLog("a"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRestartsWithDoublingBackoff(t *testing.T) {
	n := nodeWithTestImage(t)
	n.put("a.yaml", manifest(t, "a", "test:1", nil, env(behaviour, "fail")))
	log, _ := n.run()
	eventually(t, "the fourth start", func() bool { return strings.Count(n.podLog("a"), "\n") >= 4 })
	var starts []int
	for line := range strings.Lines(n.podLog("a")) {
		ms, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		starts = append(starts, ms)
	}
	for i, least := range []int{200, 400, 800} {
		if gap := starts[i+1] - starts[i]; gap < least {
			t.Errorf("start %d came %d ms after the one before, want at least %d", i+2, gap, least)
		}
	}
	if !strings.Contains(log.String(), `reason="exit status 3" restart_in=200ms`) {
		t.Errorf("log does not say why the process ended:\n%s", log)
	}
}

func TestMissingImageIsTriedAgain(t *testing.T) {
	n := nodeWithTestImage(t)
	n.put("a.yaml", manifest(t, "a", "test:2", nil, env(behaviour, "run")))
	log, _ := n.run()
	eventually(t, "a failed start", func() bool { return strings.Contains(log.String(), "no such file") })
	if err := os.Symlink("test-1", filepath.Join(n.imgs, "test-2")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod starts", func() bool { return strings.Contains(n.podLog("a"), "started") })
}

func TestFollowsTheManifests(t *testing.T) {
	n := nodeWithTestImage(t)
	pod := func(name string) string {
		return manifest(t, "a", "test:1", []string{name}, env(behaviour, "run"))
	}
	log, stop := n.run()
	started := func(name string) func() bool {
		return func() bool { return strings.Contains(n.podLog("a"), fmt.Sprintf("started [%q]", name)) }
	}
	n.put("a.yaml", pod("one"))
	eventually(t, "a new manifest starts its pod", started("one"))
	n.put("a.yaml", "kind: Pod")
	eventually(t, "a bad manifest is refused", func() bool { return strings.Contains(log.String(), "manifest refused") })
	if strings.Contains(n.podLog("a"), "stopped") {
		t.Error("a refused manifest ended the pod")
	}
	n.put("a.yaml", pod("two"))
	eventually(t, "a changed manifest restarts its pod", started("two"))
	if !strings.Contains(n.podLog("a"), "stopped [one]\nstarted [\"two\"]") {
		t.Errorf("the pod was started anew before it had ended:\n%s", n.podLog("a"))
	}
	if err := os.Remove(filepath.Join(n.manifests, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a removed manifest ends its pod", func() bool { return strings.Contains(n.podLog("a"), "stopped [two]") })
	n.put("a.yaml", pod("three"))
	eventually(t, "a manifest that comes back starts its pod", started("three"))
	stop()
	if !strings.HasSuffix(n.podLog("a"), "stopped [three]\n") {
		t.Errorf("the pod did not end with its runner:\n%s", n.podLog("a"))
	}
}

func TestWaitsForAnotherPod(t *testing.T) {
	n := nodeWithTestImage(t)
	port := freePorts(t, 1)[0]
	n.put("a.yaml", manifest(t, "a", "test:1", []string{"a"}, env(behaviour, "run"), after("b")))
	log, _ := n.run()
	eventually(t, "the pod waits", func() bool { return strings.Contains(log.String(), `reason="no pod b"`) })
	n.put("b.yaml", manifest(t, "b", "test:1", []string{"b"}, env(behaviour, "run"), probed(port)))
	eventually(t, "the other pod starts", func() bool { return strings.Contains(n.podLog("b"), "started") })
	if n.podLog("a") != "" {
		t.Error("the pod started before the other one's port answered")
	}
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	eventually(t, "the pod starts", func() bool { return strings.Contains(n.podLog("a"), "started") })
}

func TestKillsWhatDoesNotEnd(t *testing.T) {
	n := nodeWithTestImage(t)
	address := loopback(freePorts(t, 1)[0])
	n.put("a.yaml", manifest(t, "a", "test:1", nil, env(behaviour, "cling"), env("ADDRESS", address)))
	_, stop := n.run()
	eventually(t, "the process's child serves", func() bool { return answers(address) })
	asked := time.Now()
	stop()
	if took := time.Since(asked); took < 5*time.Second || took > 20*time.Second {
		t.Errorf("took %s to end, want the grace period of 5 s", took)
	}
	if !strings.Contains(n.podLog("a"), "asked to end") {
		t.Error("the process was killed without being asked to end")
	}
	if answers(address) {
		t.Error("the process's child outlived it")
	}
}

func TestEndsInReverseOrder(t *testing.T) {
	n := nodeWithTestImage(t)
	port := freePorts(t, 1)[0]
	n.put("1.yaml", manifest(t, "a", "test:1", nil, env(behaviour, "serve"), env("ADDRESS", loopback(port)), probed(port)))
	n.put("2.yaml", manifest(t, "b", "test:1", nil, env(behaviour, "run"), after("a")))
	// Two that wait for each other neither start nor keep the others from ending.
	n.put("3.yaml", manifest(t, "c", "test:1", nil, env(behaviour, "run"), after("d")))
	n.put("4.yaml", manifest(t, "d", "test:1", nil, env(behaviour, "run"), after("c")))
	log, stop := n.run()
	eventually(t, "the pod starts", func() bool { return strings.Contains(n.podLog("b"), "started") })
	stop()
	first, second := strings.Index(log.String(), "msg=ended pod=b"), strings.Index(log.String(), "msg=ended pod=a")
	if first < 0 || second < first {
		t.Errorf("the pod did not end before the one it had waited for:\n%s", log)
	}
}
