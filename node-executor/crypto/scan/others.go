package scan

import (
	"context"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// mostRemembered bounds the bytes of sites that stay as they are and are kept in memory all the same, because they will be
// searched once more.
const mostRemembered = 64 << 20

// Others are the sites that stay as they are. They are read from memory as far as there was room for them, once, and the
// rest from where they are.
type Others struct {
	remembered []site.Site
	bytes      int64
	forgotten  map[site.Ref]bool // no room
	source     site.Source
}

func (o *Others) add(s site.Site) {
	if size := int64(len(s.Content)); o.bytes+size <= mostRemembered {
		o.remembered, o.bytes = append(o.remembered, s), o.bytes+size
		return
	}
	if o.forgotten == nil {
		o.forgotten = map[site.Ref]bool{}
	}
	o.forgotten[s.Ref] = true
}

// Walk implements [site.Source]. What was in memory is not there any more afterwards.
func (o *Others) Walk(ctx context.Context, visit func(site.Site) error) error {
	for i, s := range o.remembered {
		o.remembered[i] = site.Site{}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(s); err != nil {
			return err
		}
	}
	if len(o.forgotten) == 0 {
		return nil
	}
	return o.source.Walk(ctx, func(s site.Site) error {
		if !o.forgotten[s.Ref] {
			return ctx.Err()
		}
		return visit(s)
	})
}
