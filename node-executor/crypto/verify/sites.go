package verify

import "github.com/reroot-dev/reroot/node-executor/crypto/site"

// sites checks that each site is called as renames say and that only those disappear that a rule drops. It also finds
// out what each is to be, under its old name.
func (v *verifier) sites(read []site.Site, changes []site.Change) {
	names, deleted := map[site.Ref]string{}, map[site.Ref]bool{}
	for _, s := range read {
		v.after[s.Ref], names[s.Ref] = v.before[s.Ref], s.Name
	}
	for _, c := range changes {
		ref := c.Ref
		if c.Create {
			ref.Name = c.Like
		}
		_, known := names[ref]
		switch {
		case c.Delete && known:
			deleted[ref] = true
		case c.Delete && v.plan.Rules().Changes.Dropped(ref) == "":
			v.problem(ref.String(), "is to be deleted and no rule says so")
		case c.Delete:
		case !known:
			v.problem(c.Ref.String(), "is to be changed and was not read")
		default:
			v.after[ref], names[ref] = c.After, c.Name
		}
	}
	for ref, name := range names {
		if want := v.plan.NewName(ref); name != want || deleted[ref] != (want != ref.Name) {
			v.problem(ref.String(), "is not to be %s and nothing else", want)
		}
	}
}
