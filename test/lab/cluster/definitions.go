package cluster

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	olmcrds "github.com/operator-framework/api/crds"
	velerocrds "github.com/vmware-tanzu/velero/config/crd/v1/crds"
	veleroalphacrds "github.com/vmware-tanzu/velero/config/crd/v2alpha1/crds"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed crds/*.yaml
var standIns embed.FS

const (
	openshiftModule = "github.com/openshift/api"
	// definitionLimit bounds a file of definitions, in bytes.
	definitionLimit = 4 << 20
)

// openshiftDefinitions are the files in that module that the lab's clusters use;
// "-OKD" is the variant of OKD's own feature set.
var openshiftDefinitions = []string{
	configManifests + "0000_00_cluster-version-operator_01_clusteroperators",
	configManifests + "0000_00_cluster-version-operator_01_clusterversions-OKD",
	configManifests + "0000_03_config-operator_01_proxies",
	configManifests + "0000_10_config-operator_01_apiservers-OKD",
	configManifests + "0000_10_config-operator_01_dnses",
	configManifests + "0000_10_config-operator_01_imagedigestmirrorsets",
	configManifests + "0000_10_config-operator_01_images",
	configManifests + "0000_10_config-operator_01_infrastructures-OKD",
	configManifests + "0000_10_config-operator_01_ingresses",
	"operator/v1alpha1/zz_generated.crd-manifests/0000_10_config-operator_01_imagecontentsourcepolicies",
	machineConfigManifests + "0000_80_machine-config_01_machineconfigpools-OKD",
	machineConfigManifests + "0000_80_machine-config_01_machineconfigs",
}

const (
	configManifests        = "config/v1/zz_generated.crd-manifests/"
	machineConfigManifests = "machineconfiguration/v1/zz_generated.crd-manifests/"
)

// definitions are the custom resource definitions of a cluster: OKD's and OLM's
// and Velero's from their own modules, the stand-ins, and those in extra files.
// The working directory must be inside this module.
func definitions(ctx context.Context, extra []string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	module, err := moduleDir(ctx, openshiftModule)
	if err != nil {
		return nil, err
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	files := extra
	for _, name := range openshiftDefinitions {
		files = append(files[:len(files):len(files)], filepath.Join(module, name+".crd.yaml"))
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read definitions: %w", err)
		}
		found, err := readDefinitions(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("cannot read definitions in %s: %w", name, err)
		}
		all = append(all, found...)
	}
	standIn, err := standIns.ReadFile("crds/dataprotectionapplications.yaml")
	if err != nil {
		return nil, fmt.Errorf("cannot read definitions: %w", err)
	}
	found, err := readDefinitions(bytes.NewReader(standIn))
	if err != nil {
		return nil, fmt.Errorf("cannot read stand-in definitions: %w", err)
	}
	all = append(all, found...)
	all = append(all, olmcrds.ClusterServiceVersion(), olmcrds.CatalogSource(), olmcrds.Subscription())
	all = append(all, velerocrds.CRDs...)
	return append(all, veleroalphacrds.CRDs...), nil
}

// readDefinitions takes the custom resource definitions out of a YAML stream;
// other kinds in it are not for a cluster's making and are left out.
func readDefinitions(r io.Reader) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(io.LimitReader(r, definitionLimit), 4096)
	var found []*apiextensionsv1.CustomResourceDefinition
	for {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		err := decoder.Decode(definition)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if definition.Kind == "CustomResourceDefinition" {
			found = append(found, definition)
		}
	}
}

// moduleDir is where the module cache has module in the version that go.mod says.
func moduleDir(ctx context.Context, module string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("cannot locate module %s: %w", module, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", fmt.Errorf("cannot locate module %s: not in the module cache", module)
	}
	return dir, nil
}
