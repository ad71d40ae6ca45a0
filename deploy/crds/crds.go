// Package crds holds the custom resource definitions that Reroot brings, for whoever installs them from a program.
package crds

import _ "embed"

// ImageBasedUpgrade is the definition of imagebasedupgrades.lca.openshift.io, in YAML.
//
//go:embed lca.openshift.io_imagebasedupgrades.yaml
var ImageBasedUpgrade []byte
