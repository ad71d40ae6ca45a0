package plan

import (
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Stored is what sites held before anything was changed.
func Stored(sites []site.Site) rule.State {
	state := rule.State{}
	for _, s := range sites {
		state[s.Ref] = s.Content
		if s.Original != nil {
			state[s.Ref] = s.Original
		}
	}
	return state
}

// mend makes fields that repeat what stands elsewhere agree with the new content.
func mend(before, contents rule.State) error {
	wrong, err := rule.Disagreements(before, contents)
	if err != nil {
		return fmt.Errorf("cannot compare what objects say about each other: %w", err)
	}
	for len(wrong) > 0 {
		ref, n := wrong[0].Site, 1
		for n < len(wrong) && wrong[n].Site == ref {
			n++
		}
		if contents[ref], err = rule.Mend(contents[ref], wrong[:n]); err != nil {
			return fmt.Errorf("cannot rewrite %s: %w", ref, err)
		}
		wrong = wrong[n:]
	}
	return nil
}
