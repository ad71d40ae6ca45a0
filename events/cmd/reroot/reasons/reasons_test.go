package reasons_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events/cmd/reroot/reasons"
)

func TestTableIsGenerated(t *testing.T) {
	src, err := os.ReadFile("../../../reason.go")
	if err != nil {
		t.Fatal(err)
	}
	want, err := reasons.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(src), " Reason = \""); got != len(want) {
		t.Errorf("%d of %d reasons are found", len(want), got)
	}
	if diff := cmp.Diff(want, reasons.Table); diff != "" {
		t.Errorf("events/reason.go has changed; run go generate (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, src := range map[string]string{
		"not go":          `const`,
		"no comment":      "package events\nconst ReasonX Reason = \"X\"\n",
		"another comment": "package events\n// Y is something.\nconst ReasonX Reason = \"X\"\n",
		"no literal":      "package events\n// ReasonX: something.\nconst ReasonX Reason = y\n",
	} {
		t.Run(name, func(t *testing.T) {
			if entries, err := reasons.Parse([]byte(src)); err == nil {
				t.Errorf("it is taken for %v", entries)
			}
		})
	}
}
