package heap

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// alone makes this program the one whose heap is looked at: it must not have been used before.
const alone = "REROOT_HEAP_ALONE"

// What is allocated next may be made of huge pages, and what was not needed costs nothing.
func TestExpect(t *testing.T) {
	if os.Getenv(alone) == "" {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestExpect$", "-test.v")
		again.Env = append(os.Environ(), alone+"=1")
		out, err := again.CombinedOutput()
		if err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		if strings.Contains(string(out), "--- SKIP") {
			t.Skip(string(out))
		}
		return
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("the kernel has no transparent huge pages")
	}
	const expected = 64 << 20
	Expect(expected)
	size, used := 0, 0
	advised := advisedMappings(t)
	for _, m := range advised {
		size, used = size+int(m.to-m.from), used+m.used
	}
	if size < expected*3/4 || used > expected/4 {
		t.Errorf("%d bytes may be made of huge pages, of which %d were used; want about %d and none", size, used, expected)
	}
	var kept [][]byte
	inside := 0
	for range expected / piece / 2 {
		b := make([]byte, piece)
		kept = append(kept, b)
		at := uintptr(unsafe.Pointer(&b[0]))
		if slices.ContainsFunc(advised, func(m mapping) bool { return m.from <= at && at < m.to }) {
			inside++
		}
	}
	if inside < len(kept)*3/4 {
		t.Errorf("%d of %d pieces that were allocated afterwards may be made of huge pages", inside, len(kept))
	}
	runtime.KeepAlive(kept)
}

// mapping is a range of addresses.
type mapping struct {
	from, to uintptr
	used     int // bytes
}

// advisedMappings are those of this process that may be made of huge pages.
func advisedMappings(t *testing.T) (advised []mapping) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var m mapping
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		var next mapping
		if n, _ := fmt.Sscanf(line, "%x-%x ", &next.from, &next.to); n == 2 {
			m = next
		}
		if _, err := fmt.Sscanf(line, "Rss: %d kB", &m.used); err == nil {
			m.used <<= 10
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && slices.Contains(strings.Fields(flags), "hg") {
			advised = append(advised, m)
		}
	}
	return advised
}
