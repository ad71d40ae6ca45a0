package e2e_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// TestDraw: a seed always means the same moments, and all anchors have their turn.
func TestDraw(t *testing.T) {
	const rounds = 120
	draws := func(seed uint64) []round { return draw(rand.New(rand.NewPCG(seed, 0)), rounds) }
	all := draws(7)
	if !reflect.DeepEqual(all, draws(7)) {
		t.Error("the same seed means other moments")
	}
	if reflect.DeepEqual(all, draws(8)) {
		t.Error("another seed means the same moments")
	}
	came := map[part][]anchor{}
	for _, r := range all {
		for p, moments := range r.moments {
			for _, m := range moments {
				came[p] = append(came[p], m.anchor)
			}
		}
	}
	for p, lists := range anchors {
		if p == keeping { // comes once in a run
			continue
		}
		for _, a := range slices.Concat(lists...) {
			if !slices.Contains(came[p], a) {
				t.Errorf("%s: no moment at %+v in %d rounds", p, a, rounds)
			}
		}
	}
	if last := all[rounds-1]; len(last.moments[keeping]) != 1 || len(last.moments[calm]) != 0 {
		t.Errorf("the last round is %+v", last)
	}
}
