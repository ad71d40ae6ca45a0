package scan

import (
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// Set gives a value a new content: the pull secret, the hash of the administrator's password. The place must exist:
// OpenShift refuses, for example, a kubeadmin secret that is younger than its namespace.
//
// It is made before anything is looked at, so that the old value is not taken for the cluster's material.
type Set struct {
	Site  site.Ref
	Field string // of an object stored as protobuf, such as data[.dockerconfigjson]; "" is all of a file
	Value []byte // in plain; never logged
}

// set makes the values of one site and tells whether there were any.
func (r *Result) set(s *site.Site, sets []Set) (touched bool, err error) {
	for i, set := range sets {
		if set.Site != s.Ref {
			continue
		}
		if set.Field == "" {
			s.Content, touched, r.made[i] = set.Value, true, true
			continue
		}
		edits, err := crawl.Rewrite(s.Content, crawl.Handler{Field: func(path string, _ []byte) ([]byte, bool) {
			if path != set.Field {
				return nil, false
			}
			touched, r.made[i] = true, true
			return set.Value, true
		}})
		if err != nil {
			return false, err
		}
		if s.Content, err = splice.Apply(s.Content, edits); err != nil {
			return false, err
		}
	}
	return touched, nil
}
