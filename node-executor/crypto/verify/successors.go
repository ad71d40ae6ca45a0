package verify

import (
	"bytes"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
)

// successors checks that each place holds the successor of what it held.
func (v *verifier) successors(where string, was, is []crawl.Leaf) {
	for i, leaf := range was {
		want, err := v.plan.Replacement(v.made, leaf)
		if want == nil {
			want = leaf.Bytes
		}
		if err != nil || is[i].Kind != leaf.Kind || !bytes.Equal(want, is[i].Bytes) {
			v.problem(where+leaf.Path, "is not the successor of what was there")
		}
	}
}
