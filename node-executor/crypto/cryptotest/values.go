package cryptotest

import (
	"context"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Values is an etcd in memory: values by key.
type Values map[string]string

// Walk visits the values in any order.
func (v Values) Walk(_ context.Context, visit func(site.Site) error) error {
	for name, value := range v {
		if err := visit(site.Site{Ref: site.Ref{Store: site.Etcd, Name: name}, Content: []byte(value)}); err != nil {
			return err
		}
	}
	return nil
}
