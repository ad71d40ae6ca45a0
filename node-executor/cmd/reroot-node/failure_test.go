package main_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	main "github.com/reroot-dev/reroot/node-executor/cmd/reroot-node"
	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/configfile"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func TestAdvice(t *testing.T) {
	problems := []plan.Problem{{Where: "file:/a", What: "odd"}, {Where: "file:/b", What: "\x1b[2Jodd"}}
	for name, tc := range map[string]struct {
		err  error
		code int
		want []string
	}{
		"another is running":      {commit.ErrLocked, 1, []string{"do: wait until it has ended"}},
		"somebody else writes":    {site.ErrForeignWrite, 1, []string{"do: stop whatever else writes there", "with the same journal: it finishes"}},
		"etcd runs":               {etcd.ErrInUse, 1, []string{"do: stop the etcd that has it open"}},
		"no etcd of its version":  {etcd.ErrVersion, 1, []string{"do: name under etcd.programs"}},
		"another file's was left": {&configfile.InterruptedError{Journal: "/j/1"}, 6, []string{"do: finish that one first: run the command with --journal /j/1"}},
		"anything else":           {errors.New("disk full"), 1, []string{"because: cannot do it: disk full", "do: mend that and run the command again with the same journal"}},
		"refused": {&crypto.RefusedError{Stage: "plan", Problems: problems}, 6,
			[]string{"because: 2 problems found in the plan\n  file:/a: odd\n  file:/b: ?[2Jodd\ndo: mend what is listed", "no key, certificate, token or name was changed"}},
		"refused after all": {&crypto.RefusedError{Stage: "verify", Problems: problems[:1]}, 6,
			[]string{"because: 1 problem found in the new material", "  file:/a: odd\ndo: report this"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			code := main.Report(t.Context(), &out, main.Advice(fmt.Errorf("cannot do it: %w", tc.err)))
			if code != tc.code {
				t.Errorf("got exit code %d, want %d", code, tc.code)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
		})
	}
}
